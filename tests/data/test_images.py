"""Pictures: exact pixels, every common kind, and clear errors for what is none."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from prunelib.data import images
from prunelib.data.images import Form, decode, decode_all, read, resize_all, statistics
from prunelib.errors import DataError


def encoded(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def gradient(width, height):
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(width), np.arange(height)[:, None]
    return pixels


def test_a_lossless_picture_keeps_its_pixels_and_shape():
    pixels = gradient(20, 12)
    assert np.array_equal(decode(encoded(Image.fromarray(pixels)), Form(), "a"), pixels)


def test_crop_takes_the_centre_and_stretch_takes_all():
    content = encoded(Image.fromarray(gradient(20, 12)))
    cut = decode(content, Form(12), "a")
    assert np.array_equal(cut, gradient(20, 12)[:, 4:16])  # no resampling when the side fits
    stretched = decode(content, Form(12, fit="stretch"), "a")
    assert stretched.shape == (12, 12, 3) and stretched[0, 0, 0] <= 1 and stretched[0, -1, 0] >= 18


def test_shorter_edge_then_centre():
    content = encoded(Image.fromarray(gradient(40, 20)))
    found = decode(content, Form(8, shorter=10, interpolation="bilinear"), "a")
    assert found.shape == (8, 8, 3)
    assert abs(int(found[:, 3:5, 0].mean()) - 19) <= 1 and abs(int(found[3:5, :, 1].mean()) - 9) <= 1


def test_down_scaling_filters():
    stripes = np.zeros((64, 64), dtype=np.uint8)
    stripes[:, ::2] = 255
    small = decode(encoded(Image.fromarray(stripes)), Form(16, grey=True), "a")
    assert small.shape == (16, 16, 1) and abs(float(small.mean()) - 127.5) < 3 and small.std() < 12


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK"])
@pytest.mark.parametrize("grey", [True, False])
def test_every_mode_becomes_rgb_or_grey(mode, grey):
    form = "TIFF" if mode == "CMYK" else "PNG"
    found = decode(encoded(Image.new("RGB", (6, 4), (255, 255, 255)).convert(mode), form), Form(grey=grey), "a")
    assert found.shape == (4, 6, 1 if grey else 3) and (found == 255).all()


def test_sixteen_bits_are_scaled_not_clipped():
    deep = Image.fromarray(np.array([[0, 256, 32768, 65535]], dtype=np.uint16))
    assert decode(encoded(deep), Form(grey=True), "a").ravel().tolist() == [0, 1, 128, 255]


def test_floating_point_pixels_are_refused():
    with pytest.raises(DataError, match="no fixed range"):
        decode(encoded(Image.new("F", (2, 2)), "TIFF"), Form(), "a")


def test_a_photograph_is_turned_upright_on_request_only():
    image = Image.fromarray(gradient(6, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held a quarter turn off
    content = encoded(image, exif=exif)
    assert decode(content, Form(), "a").shape == (4, 6, 3)
    assert decode(content, Form(upright=True), "a").shape == (6, 4, 3)


def test_what_is_no_whole_picture_is_refused_by_name():
    jpeg = encoded(Image.fromarray(gradient(64, 64)), "JPEG")
    for content in (b"", b"not a picture", jpeg[: len(jpeg) // 2], encoded(Image.new("L", (9, 9)))[:40]):
        with pytest.raises(DataError, match=r"set\.zip: a/1\.png: not a readable picture"):
            decode(content, Form(), "set.zip: a/1.png")


def test_formats_that_start_other_programs_are_not_read():
    with pytest.raises(DataError, match="not a readable picture"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", Form(), "a.png")


def test_huge_dimensions_are_refused_before_memory_is_taken():
    content = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", struct.pack(">IIBBBBB", 2**20, 2**20, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(b""))):
        content += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    with pytest.raises(DataError, match=r"a\.png: .*pixels"):
        decode(content, Form(), "a.png")


def test_just_over_the_limit_is_refused_and_at_the_limit_is_read(monkeypatch):
    content = encoded(Image.new("L", (10, 10)))
    monkeypatch.setattr(images, "PIXELS", 100)
    assert decode(content, Form(), "a").shape == (10, 10, 3)
    monkeypatch.setattr(images, "PIXELS", 99)
    with pytest.raises(DataError, match="10 x 10 pixels; at most 99"):
        decode(content, Form(), "a")


def test_a_missing_file_is_a_clear_error(tmp_path):
    with pytest.raises(DataError, match=r"none\.png: can't be read \(No such file"):
        read(tmp_path / "none.png", Form())


def test_many_pictures_land_in_their_rows_in_whatever_order_they_come(make):
    count = 300  # several chunks
    rows = {f"{number}.png": number for number in range(count)}
    pictures = [(f"{number}.png", make["png"](number % 256, (4, 4))) for number in range(count)]
    forward = decode_all(iter(pictures), rows, Form(4), "set")
    backward = decode_all(reversed(pictures), rows, Form(4), "set")
    assert forward.shape == (count, 4, 4, 3) and np.array_equal(forward, backward)
    assert forward[:, 0, 0, 0].tolist() == [number % 256 for number in range(count)]


def test_the_first_corrupt_picture_is_named_and_a_missing_one_is_noticed(make):
    rows = {f"{number}.png": number for number in range(200)}
    pictures = [(name, make["png"](1) if row not in (70, 190) else b"broken") for name, row in rows.items()]
    with pytest.raises(DataError, match=r"set: 70\.png: not a readable picture"):
        decode_all(pictures, rows, Form(4), "set")
    with pytest.raises(DataError, match="gave 60 of 200 pictures"):
        decode_all(pictures[:60], rows, Form(4), "set")


def test_a_set_that_would_not_fit_in_memory_is_refused_before_anything_is_read():
    with pytest.raises(DataError, match=r"140\.2 GiB.*source 'imagenet'"):
        decode_all([], dict.fromkeys(map(str, range(1_000_000)), 0), Form(224), "set")


def test_resize_all_keeps_what_fits_and_resizes_the_rest():
    pixels = np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8, 1)
    assert resize_all(pixels, 8) is pixels
    assert resize_all(pixels, 16).shape == (2, 16, 16, 1)
    flat = np.full((3, 28, 28, 3), 77, dtype=np.uint8)
    assert (resize_all(flat, 32) == 77).all() and resize_all(flat, 32).shape == (3, 32, 32, 3)


def test_statistics_equal_those_of_numpy_and_see_only_the_given_rows():
    pixels = np.random.default_rng(0).integers(0, 256, (5000, 4, 4, 3), dtype=np.uint8)
    pixels[4500:] = 255
    index = np.arange(4500)
    mean, std = statistics(pixels, index)
    values = pixels[:4500].astype(np.float64) / 255
    assert np.allclose(mean, values.mean(axis=(0, 1, 2)), atol=1e-12)
    assert np.allclose(std, values.std(axis=(0, 1, 2)), atol=1e-12)
    shuffled = statistics(pixels, np.random.default_rng(1).permutation(index))
    assert np.array_equal(mean, shuffled[0]) and np.array_equal(std, shuffled[1])
