"""Published weights: fetched from a server on loopback, checked, stored, and put into networks with any head."""

import hashlib
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import safetensors.torch
import timm
import torch
import torchvision

from prunelib.data import download
from prunelib.data.download import Remote
from prunelib.errors import ArtefactError, ConfigError, DataError
from prunelib.models import published
from prunelib.models.build import build
from prunelib.models.first_weights import fill_
from prunelib.models.published import obtain_weights
from prunelib.storage.weights import load_weights, save_weights

NAME = "test_resnet.r160_in1k"  # timm's own small architecture for tests
HUB = f"/timm/{NAME}"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A stand-in for the hub: {path: bytes}."""
    files: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            content = files.get(self.path)
            self.send_response(404 if content is None else 200)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *arguments):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    files["url"] = f"http://127.0.0.1:{running.server_port}".encode()
    monkeypatch.setenv("HF_ENDPOINT", files["url"].decode())
    monkeypatch.setenv("PRUNELIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "PAUSES", (0.0,))
    yield files
    running.shutdown()
    running.server_close()


def publish(files, state):
    content = safetensors.torch.save(state)
    digest = hashlib.sha256(content).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n"
    files[f"{HUB}/raw/main/model.safetensors"] = pointer.encode()
    files[f"{HUB}/resolve/main/model.safetensors"] = content
    return digest


def state_of(**given):
    torch.manual_seed(3)
    return timm.create_model(NAME, **given).state_dict()


def test_hub_weights_arrive_checked_and_recorded(server, tmp_path):
    state = state_of()
    digest = publish(server, state)
    obtain_weights("timm", NAME, tmp_path / "w.safetensors", tmp_path / "w.source.json")
    found = load_weights(tmp_path / "w.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    record = json.loads((tmp_path / "w.source.json").read_text())
    assert record["sha256"] == digest and record["url"].endswith("model.safetensors")


def test_changed_hub_weights_are_refused(server, tmp_path):
    publish(server, state_of())
    content = server[f"{HUB}/resolve/main/model.safetensors"]
    server[f"{HUB}/resolve/main/model.safetensors"] = content[:-1] + bytes([content[-1] ^ 1])
    with pytest.raises(DataError, match="Nothing was kept"):
        obtain_weights("timm", NAME, tmp_path / "w.safetensors", tmp_path / "w.source.json")
    assert not (tmp_path / "w.safetensors").exists()
    server[f"{HUB}/raw/main/model.safetensors"] = b"no pointer"
    with pytest.raises(DataError, match="states no checksum"):
        obtain_weights("timm", NAME, tmp_path / "w.safetensors", tmp_path / "w.source.json")


def test_absent_hub_weights_are_a_clear_error(server, tmp_path):
    with pytest.raises(DataError, match="can't be read"):
        obtain_weights("timm", NAME, tmp_path / "w.safetensors", tmp_path / "w.source.json")


@pytest.mark.parametrize("fits", [True, False])
def test_pickled_weights_named_by_their_digest(server, tmp_path, monkeypatch, fits):
    state = state_of()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()[:8] if fits else "0" * 8
    server[f"/net-{digest}.pth"] = buffer.getvalue()
    remote = Remote(f"{server['url'].decode()}/net-{digest}.pth", digest, leading=True)
    monkeypatch.setattr(published, "published", lambda builder, name: remote)
    if not fits:
        with pytest.raises(DataError, match="expected 00000000"):
            obtain_weights("torchvision", "x", tmp_path / "w.safetensors", tmp_path / "w.source.json")
        return
    obtain_weights("torchvision", "x", tmp_path / "w.safetensors", tmp_path / "w.source.json")
    found = load_weights(tmp_path / "w.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("mobilenet_v2-IMAGENET1K_V1", "b0353104"),
        ("resnet50", "11ad3fa6"),
        ("resnet50-IMAGENET1K_V1", "0676ba61"),
    ],
)
def test_torchvision_states_the_first_digits(name, digest):
    remote = published.published("torchvision", name)
    assert (remote.sha256, remote.leading) == (digest, True) and remote.url.startswith("https://download.pytorch.org/")


def test_names_without_weights_are_refused():
    with pytest.raises(ConfigError, match="no published weights for 'resnet19'"):
        published.published("timm", "resnet19")
    with pytest.raises(ConfigError, match="Allowed: IMAGENET1K_V1"):
        published.published("torchvision", "resnet18-V7")
    with pytest.raises(ConfigError, match="Allowed: timm, torchvision"):
        published.published("vgg", "x")


def timm_model(path, classes=1000, channels=3, name=NAME, seed=0):
    return build(
        {"builder": "timm", "options": {"name": name, "weights": str(path)}},
        seed,
        classes=classes,
        in_channels=channels,
    )


def test_first_weights_are_the_files(tmp_path):
    state = state_of()
    save_weights(tmp_path / "ours.safetensors", state)
    safetensors.torch.save_file(state, tmp_path / "theirs.safetensors")
    for name in ("ours", "theirs"):
        found = timm_model(tmp_path / f"{name}.safetensors").state_dict()
        assert all(torch.equal(found[key], tensor) for key, tensor in state.items())


def test_only_the_head_differs_for_other_classes(tmp_path):
    state = state_of()
    save_weights(tmp_path / "w.safetensors", state)
    model = timm_model(tmp_path / "w.safetensors", classes=7)
    found = model.state_dict()
    differing = {name for name, tensor in state.items() if not torch.equal(found[name], tensor)}
    assert differing == {"fc.weight", "fc.bias"} and found["fc.weight"].shape[0] == 7
    again = timm_model(tmp_path / "w.safetensors", classes=7).state_dict()
    assert torch.equal(found["fc.weight"], again["fc.weight"])  # drawn from the seed
    assert not torch.equal(
        found["fc.weight"], timm_model(tmp_path / "w.safetensors", 7, seed=1).state_dict()["fc.weight"]
    )
    save_weights(tmp_path / "seven.safetensors", found)
    assert torch.equal(
        timm_model(tmp_path / "seven.safetensors", classes=7).state_dict()["fc.weight"], found["fc.weight"]
    )


def test_grey_images_sum_the_first_kernels(tmp_path):
    state = state_of()
    save_weights(tmp_path / "w.safetensors", state)
    found = timm_model(tmp_path / "w.safetensors", channels=1).state_dict()
    first = next(name for name in state if state[name].dim() == 4)
    assert torch.allclose(found[first], state[first].sum(1, keepdim=True))


def test_weights_of_another_network_and_pickles_are_refused(tmp_path):
    save_weights(tmp_path / "w.safetensors", timm.create_model("test_vit").state_dict())
    with pytest.raises(ArtefactError, match="not the weights of"):
        timm_model(tmp_path / "w.safetensors")
    torch.save(state_of(), tmp_path / "w.pth")
    with pytest.raises(ArtefactError, match="convert-pickle"):
        timm_model(tmp_path / "w.pth")
    with pytest.raises(ArtefactError, match="no such file"):
        timm_model(tmp_path / "none.safetensors")


def test_any_network_is_filled_but_for_its_head(tmp_path):
    source = torchvision.models.squeezenet1_1(weights=None)
    save_weights(tmp_path / "w.safetensors", source.state_dict())
    model = torchvision.models.squeezenet1_1(weights=None, num_classes=5)
    fill_(model, str(tmp_path / "w.safetensors"))
    state = source.state_dict()
    differing = [
        name
        for name, t in model.state_dict().items()
        if t.shape != state[name].shape or not torch.equal(t, state[name])
    ]
    assert differing == ["classifier.1.weight", "classifier.1.bias"]
    with pytest.raises(ArtefactError, match="not the weights of this network"):
        fill_(torchvision.models.squeezenet1_0(weights=None), str(tmp_path / "w.safetensors"))
