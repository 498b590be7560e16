"""The user's own pictures in ``pictures/``: what ``snakemake denoise`` cleans. No torch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from prunelib.config import Settings
from prunelib.errors import DataError
from prunelib.workflow.digest import SCRIPTS, code_digest

FOLDER = Path("pictures")
RESULTS = "results/denoised"
FILES = ("denoised.png", "mask.h5", "curve.png", "curve.csv", "record.json")  # the last one says that all are there
NAME = r"\w[\w.,()+@= -]*"
USES = (
    ("data", "image_file"),
    ("task", "restore"),
    ("model", "hourglass"),
    ("method", "gumbel"),
    ("loop", "fit_image"),
)


class Pictures:
    """The picture files in a folder, by stem; hidden files and files that are no pictures are left out."""

    def __init__(self, settings: Settings, folder: Path = FOLDER) -> None:
        """List the folder, which need not be there."""
        self.settings, self.folder = settings, folder
        self.files: dict[str, str] = {}
        self._bad = False
        self._problem = f"There is none: put noisy pictures into {folder.absolute()} and run again."
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if _is_picture(path):
                self._add(path)

    def _add(self, path: Path) -> None:
        """Take one file, or note why it can't be taken: other targets than the pictures' don't care."""
        if path.stem in self.files:
            self._problem = f"{self.files[path.stem]} and {path}: both would become {RESULTS}/{path.stem}; rename one."
        elif not re.fullmatch(NAME, path.stem):
            self._problem = f"{path}: rename it; its name may hold letters, digits, spaces and . , ( ) + @ = - _ only."
        else:
            self.files[path.stem] = str(path)
            return
        self._bad = True

    def constraint(self) -> str:
        """Regular expression of the pictures' names."""
        return "|".join(map(re.escape, self.files)) or "none"

    def check(self) -> None:
        """Raise DataError, saying what to do, when there are no pictures or one can't be taken."""
        if self._bad or not self.files:
            raise DataError(self._problem)

    def results(self) -> list[str]:
        """The results of every picture."""
        return [f"{RESULTS}/{name}/{file}" for name in self.files for file in FILES]

    def params(self) -> dict[str, Any]:
        """Return the params of the rule: the options, the digest of the code, the mode."""
        code = code_digest(SCRIPTS / "denoise.py", USES)
        return {"settings": self.settings.denoise.model_dump(), "code": code, "mode": self.settings.mode}


def _is_picture(path: Path) -> bool:
    from prunelib.data.images import SUFFIXES

    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
