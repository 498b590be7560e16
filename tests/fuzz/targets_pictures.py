"""The reader of pictures."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from prunelib.data.images import Form, decode
from tests.fuzz.mutate import Alter, crc_fixed_png
from tests.fuzz.targets import Target


def pictures(_: Path) -> list[bytes]:
    """Small pictures of every format that is read, in several modes."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 9, 4), dtype=np.uint8)
    found = []
    for form in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        for mode in ("RGB", "L", "RGBA", "P", "1", "I;16", "CMYK"):
            buffer = io.BytesIO()
            try:
                source = (
                    Image.fromarray(noise[..., 0].astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(noise)
                )
                exif = Image.Exif()
                exif[0x0112] = 6
                (source if mode == "I;16" else source.convert(mode)).save(buffer, form, exif=exif)
                found.append(buffer.getvalue())
            except (OSError, ValueError, KeyError):
                continue
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4"):
        buffer = io.BytesIO()
        source = Image.fromarray(noise[..., :3])
        (source.convert("1") if compression == "group4" else source).save(buffer, "TIFF", compression=compression)
        found.append(buffer.getvalue())
    buffer = io.BytesIO()
    frames = [Image.fromarray(noise[..., :3]) for _ in range(3)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return [*found, buffer.getvalue()]


def hostile_pictures(_: Path) -> list[bytes]:
    """Pictures of huge sides, and text chunks that unpack to much."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    found = []
    for wide, high in ((9000, 9000), (60000, 60000), (2**31 - 1, 1), (2**31 - 1, 2**31 - 1), (0, 5)):
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", wide, high, 8, 6, 0, 0, 0))
        data = chunk(b"IDAT", zlib.compress(bytes(2_000_000), 9))
        found.append(b"\x89PNG\r\n\x1a\n" + head + data + chunk(b"IEND", b""))
        found.append(b"P6 %d %d 255\n" % (wide, high))
        found.append(b"GIF89a" + struct.pack("<HHBBB", wide % 65536, high % 65536, 0x80, 0, 0) + bytes(6) + b";")
        numbers = (0, 0, 0, 54, 40, wide, high % 2**31, 1, 24, 0, 0, 0, 0, 0, 0)
        found.append(b"BM" + struct.pack("<IHHIIiiHHIIiiII", *numbers))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0))
    bomb = zlib.compress(bytes(80_000_000), 9)
    for kind, prefix in ((b"zTXt", b"k\0\0"), (b"iTXt", b"k\0\1\0\0\0"), (b"iCCP", b"k\0\0")):
        found.append(b"\x89PNG\r\n\x1a\n" + head + chunk(kind, prefix + bomb) + chunk(b"IEND", b""))
    return found


def picture_made(random: Random, seed: bytes, alter: Alter) -> bytes:
    """Change a picture; a PNG mostly under right checksums."""
    return crc_fixed_png(random, seed, alter) if seed.startswith(b"\x89PNG") and random.random() < 0.8 else alter(seed)


def read_picture(path: Path) -> np.ndarray:
    """Decode a picture to a small square."""
    return decode(path.read_bytes(), Form(8, upright=True), "picture")


MARKS = (b"IHDR", b"tRNS", b"PLTE", b"acTL", b"fcTL", b"II*\0", b"Exif\0\0", b"\xff\xd8", b"\xff\xda", b"VP8X", b"ANIM")
TARGETS = [Target("picture", read_picture, pictures, picture_made, hostile_pictures, MARKS, memory=2**31)]
