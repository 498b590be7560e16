"""Downloads: https only, pinned by sha256, resumed after a break, bounded in size, kept in a cache by checksum.

A plain-http address is accepted on this machine only (a loopback mirror); the checksum is checked all the same. While a
file comes in it is called ``.<name>.part``, so that a broken download goes on later; a whole file that does not
fit its checksum is removed at once.
"""

from __future__ import annotations

import fcntl
import http.client
import ipaddress
import logging
import os
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

import prunelib
from prunelib.errors import DataError
from prunelib.storage.files import cache, sha256

TIMEOUT = 30.0  # seconds without a byte
PAUSES = (1.0, 4.0, 15.0)  # seconds before each further attempt
LIMIT = 2**36
CHUNK = 2**20
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Remote:
    """A file at an address with the sha256 it must have, and its size in bytes where it is known.

    leading: only the first digits (8 or more) of the sha256 are known, as torch.hub's file names hold them.
    """

    url: str
    sha256: str
    size: int | None = None
    leading: bool = False

    def __str__(self) -> str:
        return shown(self.url)

    def fits(self, found: str) -> bool:
        """Whether a file has the sha256 it must have."""
        return found.startswith(self.sha256) if self.leading else found == self.sha256

    @property
    def name(self) -> str:
        """The last part of the address, as a safe file name."""
        return re.sub(r"[^A-Za-z0-9._-]", "_", urllib.parse.urlsplit(self.url).path.rsplit("/", 1)[-1])[-80:] or "file"


class _Interrupted(Exception):
    """A failure that may pass: the next attempt goes on where this one stopped."""


def is_url(location: str) -> bool:
    """Whether a location is an address rather than a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", location) is not None


def shown(location: str) -> str:
    """Return a location as it may be printed and recorded: an address without its query, which may hold a key."""
    return location.split("?")[0] if is_url(location) else location


def obtain(remote: Remote, mirror: str | None = None) -> Path:
    """Return a local copy of a file; ``mirror`` is a directory or address that holds a file of the same name.

    Raises DataError when it can't be had whole and with the right checksum.
    """
    if mirror is None:
        return fetch(remote)
    if is_url(mirror):
        return fetch(replace(remote, url=f"{mirror.rstrip('/')}/{remote.name}"))
    return verified(Path(mirror).expanduser() / remote.name, remote.sha256)


def verified(path: Path, digest: str | None) -> Path:
    """Return a local file, having compared its sha256 unless ``digest`` is None; raises DataError otherwise."""
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    if digest is not None and (found := sha256(path)) != _proper(digest, str(path)):
        raise DataError(f"{path}: has sha256 {found}; expected {digest}.")
    return path


def fetch(remote: Remote) -> Path:
    """Return the cached copy of a file, downloading it if need be; safe against other processes that do the same."""
    _check_digest(remote)
    _check_address(remote.url)
    target = cache() / f"{remote.sha256}-{remote.name}"
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    with _alone(target.with_name(f".{target.name}.lock")):
        if target.exists():
            if remote.fits(sha256(target)):
                return target
            log.warning("%s: damaged; fetching it again.", target)
            target.unlink()
        resumed = part.exists()
        found = _complete(remote, part)
        if not remote.fits(found) and resumed:  # the older part may have been the bad one
            found = _complete(remote, part)
        if not remote.fits(found):
            raise DataError(f"{remote}: has sha256 {found}; expected {remote.sha256}. Nothing was kept.")
        os.replace(part, target)
    return target


def read_text(url: str, limit: int = 4096) -> str:
    """Return a short text from an address, under the rules of ``fetch``; raises DataError when it can't be had."""
    _check_address(url)
    request = urllib.request.Request(url, headers={"User-Agent": f"prunelib/{prunelib.__version__}"})
    for pause in (*PAUSES, None):
        try:
            with _opener(url).open(request, timeout=TIMEOUT) as answer:
                return answer.read(limit).decode()
        except (OSError, ValueError, http.client.HTTPException) as error:
            passing = not isinstance(error, urllib.error.HTTPError) or error.code >= 500 or error.code == 429
            if pause is None or not passing:
                raise DataError(f"{shown(url)}: can't be read ({str(error) or type(error).__name__}).") from None
            time.sleep(pause)
    raise AssertionError("the last pause is None")


def _complete(remote: Remote, part: Path) -> str:
    """Download until the file is whole and return its sha256; a file with a wrong one is removed."""
    for pause in (*PAUSES, None):
        try:
            _attempt(remote, part)
            break
        except _Interrupted as error:
            if pause is None:
                raise DataError(f"{remote}: {error}, {len(PAUSES) + 1} times; run again to go on.") from None
            log.warning("%s: %s; next attempt in %g s.", remote, error, pause)
            time.sleep(pause)
    found = sha256(part)
    if not remote.fits(found):
        part.unlink()
    return found


def _attempt(remote: Remote, part: Path) -> None:
    """Ask for what is missing of a file and append it to ``part``."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": f"prunelib/{prunelib.__version__}", "Accept-Encoding": "identity"}
    headers |= {"Range": f"bytes={have}-"} if have else {}
    try:
        with _opener(remote.url).open(urllib.request.Request(remote.url, headers=headers), timeout=TIMEOUT) as answer:
            goes_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            _receive(answer, remote, part, have if goes_on else 0)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is as long as the file, or longer
            part.unlink()
        elif error.code < 500 and error.code != 429:
            raise DataError(f"{remote}: the server answers {error.code} {error.reason}.") from None
        raise _Interrupted(f"the server answers {error.code} {error.reason}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: a length that is no number
        if isinstance(getattr(error, "reason", error), ssl.SSLCertVerificationError):
            raise DataError(f"{remote}: its certificate can't be verified ({error}).") from None
        raise _Interrupted(f"failed ({str(error) or type(error).__name__})") from None


def _receive(answer: Any, remote: Remote, part: Path, have: int) -> None:
    length = answer.headers.get("Content-Length")
    total = None if length is None else have + int(length)
    limit = remote.size or LIMIT
    with (
        open(part, "ab" if have else "wb") as stream,
        tqdm(total=total, initial=have, desc=remote.name, unit="B", unit_scale=True, disable=None) as bar,
    ):
        while True:
            if max(have, total or 0) > limit:
                part.unlink()
                raise DataError(f"{remote}: larger than the {limit:,} bytes it may have. Nothing was kept.")
            chunk = answer.read(CHUNK)
            if not chunk:
                break
            stream.write(chunk)
            have += len(chunk)
            bar.update(len(chunk))
    if total is not None and have < total:
        raise _Interrupted(f"the connection broke at {have:,} of {total:,} bytes")


def _proper(digest: str, where: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise DataError(f"{where}: '{digest}' is no sha256; it has 64 digits 0-9 and a-f.")
    return digest


def _check_digest(remote: Remote) -> None:
    if not remote.leading:
        _proper(remote.sha256, str(remote))
    elif not re.fullmatch("[0-9a-f]{8,64}", remote.sha256):
        raise DataError(f"{remote}: '{remote.sha256}' does not begin a sha256; 8 digits 0-9 and a-f are needed.")


def _loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _check_address(url: str) -> None:
    try:
        address = urllib.parse.urlsplit(url)
    except ValueError as error:
        raise DataError(f"{shown(url)}: no valid address ({error}).") from None
    if address.username or address.password:
        raise DataError(f"{address.hostname}: an address with a user name or password is refused.")
    if address.scheme != "https" and not (address.scheme == "http" and _loopback(address.hostname)):
        raise DataError(f"{shown(url)}: only https is accepted (plain http on this machine's loopback only).")


class _Redirect(urllib.request.HTTPRedirectHandler):
    """Follows a redirect under the rules of ``_check_address``; what began with https never leaves it."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check_address(newurl)
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise DataError(f"{shown(req.full_url)}: redirects to {shown(newurl)}, without https; refused.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(url: str) -> urllib.request.OpenerDirector:
    own = _loopback(urllib.parse.urlsplit(url).hostname)
    return urllib.request.build_opener(_Redirect, *([urllib.request.ProxyHandler({})] if own else []))


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock file: of several processes that want the same download, one fetches it and the others wait."""
    with open(path, "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
