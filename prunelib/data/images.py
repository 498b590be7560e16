"""Pictures: safe decoding of one, parallel decoding of many, resizing, channel statistics."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from prunelib.errors import DataError, PrunelibError
from prunelib.storage.provenance import cores

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # none whose reader starts another program
PIXELS = 89_478_485  # a quarter of a gigabyte of RGB, Pillow's own limit for a warning
ARRAY_BYTES = 16 * 2**30
CHUNK = 64
LEGACY_SIDES = (256, 480, 512)  # those of the OES authors' code
FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
}

Named = tuple[str, bytes]


@dataclass(frozen=True)
class Form:
    """The form a picture is brought into: side in pixels (None: its own size), channels, and how it is made to fit.

    ``crop`` cuts out the central square, then resizes it; ``stretch`` ignores the aspect ratio. With ``shorter``, the
    shorter edge is resized to that many pixels first and the centre is cut out. Down-scaling always filters. With
    ``legacy``, the picture is stretched to the side among LEGACY_SIDES that is nearest to its longer edge.
    """

    side: int | None = None
    grey: bool = False
    fit: Literal["crop", "stretch"] = "crop"
    shorter: int | None = None
    interpolation: Literal["lanczos", "bicubic", "bilinear"] = "lanczos"
    upright: bool = False  # turn a photograph the way its camera was held (EXIF)
    legacy: bool = False

    @property
    def channels(self) -> int:
        """1 for grey, else 3."""
        return 1 if self.grey else 3


def decode(content: bytes, form: Form, where: str) -> np.ndarray:
    """Decode one picture to uint8 (H, W, channels); alpha is dropped, 16 bits become 8.

    Raises DataError naming ``where`` when it is not a whole picture of a known format or has over PIXELS pixels.
    """
    image = opened(content, form, where)
    fitted = _fitted(image, form)
    return np.asarray(fitted).reshape(fitted.height, fitted.width, form.channels)


def opened(content: bytes, form: Form, where: str) -> Image.Image:
    """Decode one picture at its own size, grey or RGB as ``form`` says; raises DataError as ``decode`` does."""
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        if image.width * image.height > PIXELS:
            raise DataError(f"{where}: {image.width} x {image.height} pixels; at most {PIXELS:,} are decoded.")
        image.load()
        image = ImageOps.exif_transpose(image) if form.upright else image
        return _eight_bits(image).convert("L" if form.grey else "RGB")
    except PrunelibError:
        raise
    except Exception as error:  # decoders raise whatever they stumble on
        raise DataError(f"{where}: not a readable picture ({str(error) or type(error).__name__}).") from None


def photo_form(side: int | None, grey: bool, fit: Literal["crop", "stretch"], legacy: bool, **more: bool) -> Form:
    """Return the form of one photograph; raises DataError when it would get two sides."""
    if legacy and side is not None:
        raise DataError(f"side: got {side}, but legacy_resize chooses the side itself; leave one of them out.")
    return Form(side, grey, fit, legacy=legacy, **more)


def read(path: str | Path, form: Form) -> np.ndarray:
    """Decode a picture file; raises DataError when it is missing or unreadable."""
    return decode(read_bytes(path), form, str(path))


def read_bytes(path: str | Path) -> bytes:
    """Return a file's bytes; raises DataError when it is missing or unreadable."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror}).") from None


def decode_all(contents: Iterable[Named], rows: Mapping[str, int], form: Form, where: str) -> np.ndarray:
    """Decode many pictures to squares on all cores; the one called ``name`` becomes row ``rows[name]``.

    Returns uint8 (len(rows), side, side, channels). Raises DataError when a picture is corrupt or does not come, or
    when the result would take over ARRAY_BYTES.
    """
    assert form.side is not None
    images = allocate(len(rows), form, where)

    def work(chunk: list[Named]) -> int:
        for name, content in chunk:
            images[rows[name]] = decode(content, form, f"{where}: {name}")
        return len(chunk)

    done = 0
    with tqdm(total=len(rows), desc="decoding", unit="image", disable=None) as bar:
        for count in _in_order(work, _chunks(contents)):
            done += count
            bar.update(count)
    if done != len(rows):
        raise DataError(f"{where}: gave {done} of {len(rows)} pictures; it has changed while it was read.")
    return images


def allocate(count: int, form: Form, where: str) -> np.ndarray:
    """Return room for ``count`` square pictures; raises DataError when it would take over ARRAY_BYTES."""
    size = count * form.side * form.side * form.channels
    if size > ARRAY_BYTES:
        raise DataError(
            f"{where}: {count} pictures of side {form.side} take {size / 2**30:.1f} GiB, over {ARRAY_BYTES // 2**30}; "
            "choose a smaller side, or source 'imagenet', which leaves the files where they are."
        )
    return np.empty((count, form.side, form.side, form.channels), dtype=np.uint8)


def resize_all(images: np.ndarray, side: int) -> np.ndarray:
    """Resize square pictures uint8 (N, H, W, C) to (N, side, side, C); unchanged when they have that side."""
    if images.shape[1:3] == (side, side):
        return images
    form = Form(side=side, grey=images.shape[3] == 1)
    resized = allocate(len(images), form, "resizing")
    for row, image in enumerate(images):
        picture = Image.fromarray(image[..., 0] if form.grey else image)
        resized[row] = np.asarray(_fitted(picture, form)).reshape(side, side, -1)
    return resized


def statistics(images: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation per channel of images[index], values in [0, 1], exact in any order."""
    counts = np.zeros((images.shape[3], 256), dtype=np.int64)
    for start in range(0, len(index), 4096):
        part = images[index[start : start + 4096]]
        for channel in range(len(counts)):
            counts[channel] += np.bincount(part[..., channel].ravel(), minlength=256)
    values = np.arange(256) / 255
    weights = counts / counts.sum(axis=1, keepdims=True)
    mean = weights @ values
    return mean, np.sqrt((weights * (values - mean[:, None]) ** 2).sum(axis=1))


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return an image of 8 bits per channel; 16-bit grey is scaled (Pillow's own conversion would clip it to white)."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise DataError(f"pixels of mode {image.mode} have no fixed range; save it with 8 or 16 bits per channel")
    return image


def _fitted(image: Image.Image, form: Form) -> Image.Image:
    if form.legacy:
        form = replace(form, side=min(LEGACY_SIDES, key=lambda side: abs(side - max(image.size))), fit="stretch")
    if form.side is None:
        return image
    if form.shorter is not None:
        scale = form.shorter / min(image.size)
        wide, high = (max(round(edge * scale), form.shorter) for edge in image.size)
        return _centre(image.resize((wide, high), FILTERS[form.interpolation]), form.side)
    if form.fit == "crop":
        image = _centre(image, min(image.size))
    size = (form.side, form.side)
    return image if image.size == size else image.resize(size, FILTERS[form.interpolation])


def _centre(image: Image.Image, side: int) -> Image.Image:
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _chunks(contents: Iterable[Named]) -> Iterator[list[Named]]:
    iterator = iter(contents)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk


def _in_order(work: Callable[[list[Named]], int], chunks: Iterator[list[Named]]) -> Iterator[int]:
    """Yield work(chunk) in order, with a few chunks under way at once; the first failure ends it."""
    with ThreadPoolExecutor(cores()) as pool:
        waiting: deque[Future[int]] = deque()
        try:
            for chunk in chunks:
                waiting.append(pool.submit(work, chunk))
                if len(waiting) > 2 * cores():
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
