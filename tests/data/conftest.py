"""Pictures, archives, and a small web server on loopback with the faults of real ones."""

import gzip
import io
import tarfile
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from prunelib.data import download


def png(value=0, size=(8, 8), mode="RGB"):
    """Return a PNG of one colour; ``value`` is grey or a tuple."""
    buffer = io.BytesIO()
    Image.new(mode, size, value if mode != "RGB" or isinstance(value, tuple) else (value,) * 3).save(buffer, "PNG")
    return buffer.getvalue()


def noise(seed, size=(8, 8)):
    """Return a PNG of random colours, which no compression shrinks."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def tar_bytes(files):
    """Return a tar of {name: bytes} or of (TarInfo, bytes) pairs."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items() if isinstance(files, dict) else files:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zip_bytes(files):
    """Return a zip of {name: bytes} or of (name or ZipInfo, bytes) pairs."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items() if isinstance(files, dict) else files:
            archive.writestr(name, content)
    return buffer.getvalue()


def python2_array(array):
    """Return the opcodes with which Python 2 pickled a two-dimensional array of bytes (protocol 2)."""
    rows, columns, size = (number.to_bytes(4, "little") for number in (*array.shape, array.nbytes))
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01J" + rows + b"J" + columns + b"\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T" + size + array.tobytes() + b"tb"
    )


PACKERS = {
    "tar": tar_bytes,
    "tar.gz": lambda files: gzip.compress(tar_bytes(files), mtime=0),
    "zip": zip_bytes,
}


@pytest.fixture
def make():
    """The makers of pictures and archives above, by name (test modules can't import each other)."""
    return {
        "png": png,
        "noise": noise,
        "tar": tar_bytes,
        "zip": zip_bytes,
        "packers": PACKERS,
        "python2_array": python2_array,
    }


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of its own for every test, and no waiting between attempts."""
    monkeypatch.setenv("PRUNELIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "PAUSES", (0.0, 0.0))
    return tmp_path / "cache"


@dataclass
class Server:
    """What the server holds ({path: bytes}), how it misbehaves, and the requests it has seen as (path, Range)."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)  # the next answers break after so many bytes
    statuses: list[int] = field(default_factory=list)  # the next answers are these errors
    redirects: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    lengths: bool = True
    seen: list[tuple[str, str | None]] = field(default_factory=list)
    handler: type | None = None


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        state = self.server.state
        wanted = self.headers.get("Range")
        state.seen.append((self.path, wanted))
        if state.statuses:
            return self.send_error(state.statuses.pop(0))
        path = self.path.split("?")[0]
        if path in state.redirects:
            self.send_response(302)
            self.send_header("Location", state.redirects[path])
            return self.end_headers()
        if path not in state.files:
            return self.send_error(404)
        return self.answer(state, state.files[path], wanted if state.ranges else None)

    def answer(self, state, content, wanted):
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if start >= len(content) > 0:
            return self.send_error(416)
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if state.lengths:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        stop = start + state.cuts.pop(0) if state.cuts else len(content)
        self.wfile.write(content[start:stop])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    """A running server on loopback; its ``files``, ``cuts``, ``statuses`` ... are set by the test."""
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.state = Server(f"http://127.0.0.1:{running.server_port}", handler=Handler)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield running.state
    running.shutdown()
    running.server_close()
