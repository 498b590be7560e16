"""The reader of jobs' records: a tree is checked against what they say, changed under right seals."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from random import Random
from typing import Any

from prunelib.errors import ArtefactError
from prunelib.storage.files import sha256
from prunelib.workflow import records
from prunelib.workflow.verify import Verifier
from tests.fuzz.mutate import Alter
from tests.fuzz.targets import Target

RUN = "results/runs/oes/t/m/g/full/seed0"
FACTS = {"job": "t/train", "step": "train", "identity": "a", "stub": False}


def tree(work: Path) -> None:
    """Write a job's output, and the record of the job before it."""
    folder = work / RUN
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text("{}")
    (folder / "mask.h5").write_bytes(b"mask")
    (work / "elsewhere").write_text("x")
    records.write(folder / f"mask{records.SUFFIX}", made({}, {f"{RUN}/mask.h5": sha256(folder / "mask.h5")}))


def made(inputs: dict[str, str], outputs: dict[str, str]) -> dict[str, Any]:
    """A whole record."""
    times = {name: "2026-11-20T00:00:00.000+00:00" for name in ("started", "ended")}
    code = {"code": "1", "commit": None, "dirty": None, "prunelib": "0.1", "python": "3.11", "packages": {"torch": "2"}}
    names = {"inputs": inputs, "parents": {}, "outputs": outputs}
    return records.sealed({"format": records.FORMAT, **FACTS, **code, **times, **names, "settings": {}, "wall_s": 1.0})


def whole(place: Path) -> list[bytes]:
    """The record of a job with inputs of every kind."""
    tree(place)
    mask, parent = f"{RUN}/mask.h5", f"{RUN}/mask{records.SUFFIX}"
    inputs = {mask: sha256(place / mask), "elsewhere": "0" * 64, "/etc/hostname": "0" * 64, "gone": "1"}
    record = made(inputs, {f"{RUN}/metrics.json": sha256(place / RUN / "metrics.json")})
    record["parents"] = {parent: records.read(place / parent)["digest"]}
    return [written(record)]


def written(record: Any) -> bytes:
    """A record as it is written, under a right seal where there can be one."""
    with contextlib.suppress(AttributeError, KeyError):
        record = records.sealed(record)
    return json.dumps(record, indent=1).encode() + b"\n"


def resealed(random: Random, seed: bytes, alter: Alter) -> bytes:
    """Change a record, mostly with its seal put right."""
    content = alter(seed)
    try:
        return written(json.loads(content)) if random.random() < 0.9 else content
    except (ValueError, RecursionError):
        return content


def hostile(place: Path) -> list[bytes]:
    """Names that lead out of the tree, that no system has, that are no files or have no end."""
    good = json.loads(whole(place)[0])
    names = ("../x", "/etc/passwd", "results/../../x", "results/" + "a" * 300, "x/" * 3000, "results", "results/\0", "")
    names += (
        "/dev/zero",
        "/proc/kcore",
        "/proc/self/mem",
        "/dev/stdin",
        "\ud800",
        "results/\udfff",
        "//",
        "~",
        "a" * 5000,
    )
    changes: list[Any] = [{where: {name: "0" * 64}} for where in ("inputs", "parents", "outputs") for name in names]
    changes += [{where: value} for where in good for value in (None, 5, [], "x", {"a": 1}, {})]
    return [written(good | change) for change in changes]


def check(path: Path) -> Any:
    """Check the tree of which the file is the record of a job; refused is a record that is none."""
    path.rename(path.parent / RUN / f"train{records.SUFFIX}")
    found = list(Verifier(path.parent / "results").findings())
    if refused := [finding.text for finding in found if finding.kind == "record"]:
        raise ArtefactError(refused[0])
    return found


NAMES = (b"results/", b"../", b"/dev/zero", b"/proc/kcore", b"\\u0000", b"\\ud800", b"{", b"[", b"null", b'"outputs": ')
TARGETS = [Target("job record", check, whole, resealed, hostile, NAMES, ".json", prepare=tree)]
