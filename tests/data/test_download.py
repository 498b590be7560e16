"""Downloads against a server on loopback: whole, resumed, truncated, wrong, too large, misdirected."""

import hashlib
import multiprocessing
import shutil
import ssl
import subprocess
import threading
from http.server import ThreadingHTTPServer

import pytest

from prunelib.data.download import Remote, fetch, is_url, obtain, verified
from prunelib.errors import DataError

CONTENT = bytes(range(256)) * 8192  # 2 MiB: two chunks
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def remote(server):
    server.files["/data.bin"] = CONTENT
    return Remote(f"{server.url}/data.bin", DIGEST, len(CONTENT))


def visible(cache):
    """The names in the cache that are not hidden: those anyone would take for finished files."""
    return sorted(path.name for path in cache.iterdir() if not path.name.startswith("."))


def parts(cache):
    return [path for path in cache.iterdir() if path.name.endswith(".part")]


def test_a_file_is_fetched_once_and_named_by_its_checksum(remote, server, cache):
    path = fetch(remote)
    assert path == cache / f"{DIGEST}-data.bin" and path.read_bytes() == CONTENT
    assert fetch(remote) == path and server.seen == [("/data.bin", None)]
    assert parts(cache) == []


def test_a_damaged_cache_is_noticed_and_mended(remote, server, cache):
    path = fetch(remote)
    path.write_bytes(CONTENT[:-1] + b"x")
    assert fetch(remote).read_bytes() == CONTENT and len(server.seen) == 2


def test_a_broken_connection_is_resumed_where_it_broke(remote, server):
    server.cuts = [1_000_000, 500_000]
    assert fetch(remote).read_bytes() == CONTENT
    assert [asked for _, asked in server.seen] == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_download_that_keeps_breaking_fails_clearly_and_goes_on_in_the_next_run(remote, server, cache):
    server.cuts = [300_000] * 3
    with pytest.raises(DataError, match=r"data\.bin.*broke at 900,000 of 2,097,152 bytes.*run again to go on"):
        fetch(remote)
    assert visible(cache) == []
    assert fetch(remote).read_bytes() == CONTENT
    assert server.seen[-1] == ("/data.bin", "bytes=900000-") and parts(cache) == []


def test_a_server_that_can_not_resume_starts_again(remote, server):
    server.ranges, server.cuts = False, [1_000_000]
    assert fetch(remote).read_bytes() == CONTENT


def test_a_truncated_file_without_a_length_is_found_by_its_checksum(remote, server, cache):
    server.lengths, server.cuts = False, [1_000_000]
    with pytest.raises(DataError, match=rf"has sha256 [0-9a-f]{{64}}; expected {DIGEST}. Nothing was kept"):
        fetch(remote)
    assert visible(cache) == parts(cache) == []


def test_a_wrong_file_is_refused_and_removed(remote, server, cache):
    server.files["/data.bin"] = CONTENT[::-1]
    with pytest.raises(DataError, match=f"expected {DIGEST}"):
        fetch(remote)
    assert visible(cache) == parts(cache) == [] and len(server.seen) == 1


@pytest.mark.parametrize("old", [b"x" * 1000, CONTENT + b"x", CONTENT])
def test_a_bad_or_whole_part_of_an_earlier_run_does_not_spoil_the_next(remote, cache, old):
    cache.mkdir()
    (cache / f".{DIGEST}-data.bin.part").write_bytes(old)
    assert fetch(Remote(remote.url, DIGEST)).read_bytes() == CONTENT
    assert parts(cache) == []


@pytest.mark.parametrize("lengths", [True, False])
def test_a_file_larger_than_announced_is_refused_and_removed(remote, server, cache, lengths):
    server.lengths = lengths
    with pytest.raises(DataError, match=r"larger than the 1,000 bytes"):
        fetch(Remote(remote.url, DIGEST, 1000))
    assert visible(cache) == parts(cache) == []


def test_a_busy_server_is_asked_again_and_a_missing_file_is_not(remote, server):
    server.statuses = [503, 429]
    assert fetch(remote).read_bytes() == CONTENT and len(server.seen) == 3
    with pytest.raises(DataError, match="answers 404"):
        fetch(Remote(f"{server.url}/none.bin", "0" * 64))
    assert len(server.seen) == 4
    server.statuses = [500] * 3
    with pytest.raises(DataError, match=r"answers 500.*3 times"):
        fetch(Remote(f"{server.url}/data.bin", "1" * 64))


def test_nobody_at_the_address_is_a_clear_error(server):
    with pytest.raises(DataError, match=r"127\.0\.0\.1:1/.*failed"):
        fetch(Remote("http://127.0.0.1:1/data.bin", DIGEST))


def test_a_server_that_stops_talking_is_given_up(remote, server, monkeypatch):
    def hang(*arguments, **options):
        raise TimeoutError("timed out")

    monkeypatch.setattr("urllib.request.OpenerDirector.open", hang)
    with pytest.raises(DataError, match="timed out"):
        fetch(remote)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.org/data.bin", "only https"),
        ("ftp://example.org/data.bin", "only https"),
        ("file:///etc/passwd", "only https"),
        ("https://me:secret@example.org/data.bin", "user name or password"),
        ("https://[::1/data.bin?key=secret", "no valid address"),
    ],
)
def test_unsafe_addresses_are_refused_before_anything_is_sent(url, why):
    with pytest.raises(DataError, match=why) as error:
        fetch(Remote(url, DIGEST))
    assert "secret" not in str(error.value)


def test_redirects_stay_within_the_rules(remote, server):
    server.redirects = {"/moved.bin": "/data.bin", "/out.bin": "http://example.org/data.bin"}
    assert fetch(Remote(f"{server.url}/moved.bin", DIGEST)).read_bytes() == CONTENT
    with pytest.raises(DataError, match="only https"):
        fetch(Remote(f"{server.url}/out.bin", "2" * 64))


@pytest.fixture
def secure(server, tmp_path):
    """The same server behind https, with a certificate of its own; yields (address, certificate)."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate]
    subprocess.run([*command, *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    running = ThreadingHTTPServer(("127.0.0.1", 0), server.handler)
    running.state, running.socket = server, context.wrap_socket(running.socket, server_side=True)
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    yield f"https://localhost:{running.server_port}", certificate
    running.shutdown()
    running.server_close()


def test_a_certificate_nobody_vouches_for_is_refused(remote, secure, server):
    with pytest.raises(DataError, match=r"data\.bin: its certificate can't be verified"):
        fetch(Remote(f"{secure[0]}/data.bin", DIGEST))
    assert server.seen == []


def test_https_works_and_is_never_left_for_http(remote, secure, server, monkeypatch):
    address, certificate = secure
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server.cuts = [1_000_000]
    assert fetch(Remote(f"{address}/data.bin", DIGEST)).read_bytes() == CONTENT
    server.redirects = {"/down.bin": f"{server.url}/data.bin?key=secret"}
    with pytest.raises(DataError, match=r"redirects to http://127\.0\.0\.1:\d+/data\.bin, without https; refused"):
        fetch(Remote(f"{address}/down.bin", "3" * 64))
    assert [path for path, _ in server.seen] == ["/data.bin", "/data.bin", "/down.bin"]


@pytest.mark.parametrize("digest", ["", "abc", "z" * 64, DIGEST.upper()])
def test_a_checksum_must_be_one(server, digest):
    with pytest.raises(DataError, match="no sha256"):
        fetch(Remote(f"{server.url}/data.bin", digest))
    assert server.seen == []


def test_names_are_safe_whatever_the_address():
    assert Remote("https://a/b/..%2Fetc%2Fpasswd?x=1", DIGEST).name == ".._2Fetc_2Fpasswd"
    assert Remote("https://a/", DIGEST).name == "file"


def test_mirrors_are_directories_or_addresses_and_checked_all_the_same(server, tmp_path):
    official = Remote("https://example.org/set/data.bin", DIGEST, len(CONTENT))
    server.files["/copy/data.bin"] = CONTENT
    assert obtain(official, f"{server.url}/copy/").read_bytes() == CONTENT
    (tmp_path / "data.bin").write_bytes(CONTENT)
    assert obtain(official, str(tmp_path)) == tmp_path / "data.bin"
    (tmp_path / "data.bin").write_bytes(b"other")
    with pytest.raises(DataError, match=f"expected {DIGEST}"):
        obtain(official, str(tmp_path))
    with pytest.raises(DataError, match="no such file"):
        obtain(official, str(tmp_path / "nowhere"))


def test_a_local_file_is_compared_only_when_a_checksum_is_given(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert verified(tmp_path / "a", None) == tmp_path / "a"
    with pytest.raises(DataError, match="no sha256"):
        verified(tmp_path / "a", "abc")


def test_addresses_and_paths_are_told_apart():
    assert all(map(is_url, ("https://a/b", "ftp://a", "HTTP://a")))
    assert not any(map(is_url, ("a/b.zip", "C:/a", "/a", "a:b")))


def test_four_processes_that_want_one_file_fetch_it_once(remote, server):
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        found = pool.map(fetch, [remote] * 4)
    assert len(set(found)) == 1 and found[0].read_bytes() == CONTENT
    assert len(server.seen) == 1
