"""Pictures of the user's own: one file, or a folder or archive of class folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from prunelib.data.archives import contents, names
from prunelib.data.datasets import ImageSet, Photo, assemble
from prunelib.data.download import Remote, fetch, is_url, shown, verified
from prunelib.data.images import SUFFIXES, Form, decode_all, photo_form, read
from prunelib.data.splits import assign
from prunelib.errors import DataError
from prunelib.options import Count, Share
from prunelib.registry import register
from prunelib.storage.files import sha256 as sha256_of

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}

Layout = dict[str, tuple[str, str]]  # name of a picture -> (split, class)


@register("data", "image_file")
def image_file(
    seed: int,
    *,
    location: str,
    side: Count | None = None,
    grey: bool = False,
    fit: Literal["crop", "stretch"] = "crop",
    legacy_resize: bool = False,
    sha256: str | None = None,
) -> Photo:
    """Any picture by path or https address, as RGB or grey; ``side``, ``fit`` and ``legacy_resize`` as for photo.

    An address needs the ``sha256`` of its file; with a path it is optional.
    """
    form = photo_form(side, grey, fit, legacy_resize, upright=True)
    place, inputs = _place(location, sha256)
    if place.is_dir():
        raise DataError(f"{location}: is a directory; source 'image_file' reads one picture.")
    image = read(place, form)
    return Photo(Path(location).stem, image, shown(location), {"inputs": inputs})


@register("data", "folder")
def folder(
    seed: int,
    *,
    location: str,
    side: Count,
    grey: bool = False,
    sha256: str | None = None,
    val_share: Share | None = None,
    test_share: Share | None = None,
) -> ImageSet:
    """Class folders of pictures in a directory, .zip, .tar or .tar.gz, by path or https address.

    Layouts: train/<class>/*, optionally val/ (valid/, validation/) and test/ of the same form, or <class>/* alone; one
    folder around all of it is allowed. Classes are the sorted folder names. Each picture's central square is resized to
    side x side. Splits that do not come with the data are drawn per class (see prunelib.data.splits.assign). An
    address needs the ``sha256`` of its file; with a path to an archive it is optional.
    """
    place, inputs = _place(location, sha256)
    location = shown(location)
    layout = arrange(names(place), location)
    rows = {name: row for row, name in enumerate(layout)}
    classes = sorted({label for _, label in layout.values()})
    number = {label: index for index, label in enumerate(classes)}
    labels = np.array([number[label] for _, label in layout.values()], dtype=np.int64)
    parts = np.array([split for split, _ in layout.values()])
    given = {str(name): np.flatnonzero(parts == name) for name in np.unique(parts)}
    splits = assign(labels, given, seed, val_share, test_share, location)
    images = decode_all(contents(place, rows), rows, Form(side, grey), location)
    return assemble(place.name, images, labels, splits, classes, location, inputs)


def _place(location: str, digest: str | None) -> tuple[Path, dict[str, str]]:
    """Return the local directory or archive of a location and, for an archive, its checksum."""
    if is_url(location):
        if digest is None:
            raise DataError(f"{shown(location)}: an address needs 'sha256', the checksum its file must have.")
        remote = Remote(location, digest)
        return fetch(remote), {remote.name: digest}
    place = Path(location).expanduser()
    if place.is_dir():
        if digest is not None:
            raise DataError(f"{location}: is a directory; 'sha256' is for archives, leave it out.")
        return place, {}
    return verified(place, digest), {place.name: sha256_of(place)}


def arrange(members: Iterable[str], where: str) -> Layout:
    """Return split and class of every picture, by name, in sorted order; without split folders all are "train".

    Files that are no pictures, and hidden ones, are left out. Raises DataError when a picture lies in no class folder,
    when there are fewer than two classes, or when val or test has a class that train has not.
    """
    paths = {name: PurePosixPath(name).parts for name in sorted(members) if _is_picture(name)}
    if not paths:
        raise DataError(f"{where}: holds no pictures ({', '.join(SUFFIXES)}).")
    while len({parts[0] for parts in paths.values()}) == 1 and min(map(len, paths.values())) > 2:
        if next(iter(paths.values()))[0].lower() in SPLIT_FOLDERS:
            break
        paths = {name: parts[1:] for name, parts in paths.items()}
    divided = any(parts[0].lower() == "train" and len(parts) > 2 for parts in paths.values())
    layout: Layout = {}
    for name, parts in paths.items():
        split = SPLIT_FOLDERS.get(parts[0].lower()) if divided else "train"
        if split is None or len(parts) < (3 if divided else 2):
            form = "train|val|test/<class>/<picture>" if divided else "<class>/<picture>"
            raise DataError(f"{where}: '{name}' does not lie in a class folder ({form}).")
        layout[name] = (split, parts[1 if divided else 0])
    _check_classes(layout, where)
    return layout


def _check_classes(layout: Layout, where: str) -> None:
    known = {label for split, label in layout.values() if split == "train"}
    if len(known) < 2:
        raise DataError(f"{where}: has {len(known)} class folder(s) to train on; at least 2 are needed.")
    for name, (split, label) in layout.items():
        if label not in known:
            raise DataError(f"{where}: '{name}' is of a class ('{label}') that {split} has and train has not.")


def _is_picture(name: str) -> bool:
    parts = PurePosixPath(name).parts
    hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
    return not hidden and name.lower().endswith(SUFFIXES)
