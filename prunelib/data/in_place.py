"""Pictures that stay in their folder: decoded when they are asked for, indexed like an array."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from prunelib.data.images import Form, decode, opened, read_bytes
from prunelib.errors import DataError
from prunelib.storage.hdf5_reader import Group


@dataclass(frozen=True)
class FileImages:
    """Pictures below ``root``: indexing with integers or a slice gives uint8 (n, side, side, channels).

    ``sizes`` are the files' bytes when the index was made; a file of another size raises DataError.
    """

    root: Path
    paths: list[str]
    sizes: np.ndarray
    form: Form

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, side, side, channels), as of the array these pictures would fill."""
        assert self.form.side is not None
        return len(self), self.form.side, self.form.side, self.form.channels

    def __getitem__(self, index: np.ndarray | slice) -> np.ndarray:
        """Decode the pictures at these positions; raises DataError for a file that is missing, changed or corrupt."""
        rows = np.arange(len(self))[index]
        images = np.empty((len(rows), *self.shape[1:]), dtype=np.uint8)
        for place, row in enumerate(rows):
            images[place] = decode(self._content(int(row)), self.form, self._where(int(row)))
        return images

    def picture(self, row: int) -> Image.Image:
        """Return one picture at its own size; raises DataError as indexing does."""
        return opened(self._content(row), self.form, self._where(row))

    def subset(self, index: np.ndarray) -> FileImages:
        """Return the pictures at these positions, still undecoded."""
        return replace(self, paths=[self.paths[row] for row in index], sizes=self.sizes[index])

    def digest(self, labels: np.ndarray) -> str:
        """Return the sha256 of what identifies the set without reading every picture: paths, sizes and labels."""
        text = "\n".join(self.paths).encode()
        return hashlib.sha256(text + self.sizes.tobytes() + labels.tobytes()).hexdigest()

    def store(self, file: h5py.File) -> None:
        """Write the index to an open data file."""
        file.create_dataset("paths", data=np.frombuffer("\n".join(self.paths).encode(), dtype=np.uint8))
        file.create_dataset("sizes", data=self.sizes)
        file.attrs.update({"root": str(self.root), "form": json.dumps(asdict(self.form), sort_keys=True)})

    @classmethod
    def load(cls, file: Group) -> FileImages:
        """Read the index from an open data file."""
        paths = file["paths"][()].tobytes().decode().split("\n")
        return cls(Path(file.attrs["root"]), paths, file["sizes"][()], Form(**json.loads(file.attrs["form"])))

    def _where(self, row: int) -> str:
        return str(self.root / self.paths[row])

    def _content(self, row: int) -> bytes:
        content = read_bytes(self.root / self.paths[row])
        if len(content) != self.sizes[row]:
            raise DataError(
                f"{self._where(row)}: has {len(content)} bytes; it had {self.sizes[row]} when it was indexed."
            )
        return content
