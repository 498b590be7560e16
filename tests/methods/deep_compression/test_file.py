"""The compressed file: the network bit for bit, its sizes by hand, and no damage that goes unseen."""

import hashlib
import json
import zlib

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from prunelib.errors import ArtefactError
from prunelib.methods.deep_compression.file import MAGIC, START, load_compressed, save_compressed, sizes
from prunelib.methods.deep_compression.share import attach_, deep_compression, detach_, share


@pytest.fixture
def network():
    """A pruned network with shared weights, and its layers."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(32, 5))
    with torch.no_grad():
        for index in (0, 3):
            net[index].weight *= torch.rand(net[index].weight.shape) < 0.4
    layers = deep_compression(net, of="m", conv_bits=4, linear_bits=3)
    attach_(net, layers)
    return net, detach_(net, layers)


@pytest.fixture
def saved(network, tmp_path):
    net, layers = network
    save_compressed(tmp_path / "small.bin", net.state_dict(), layers)
    return net, tmp_path / "small.bin"


def same(state, other):
    return list(state) == list(other) and all(
        torch.equal(state[name], other[name]) and state[name].dtype == other[name].dtype for name in state
    )


def test_the_network_comes_back_bit_for_bit_and_the_bytes_do_not_change(saved, network, tmp_path):
    net, path = saved
    assert same(load_compressed(path, net.state_dict()), net.state_dict())
    save_compressed(tmp_path / "again.bin", net.state_dict(), network[1])
    assert (tmp_path / "again.bin").read_bytes() == path.read_bytes()


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 9), st.integers(1, 700), st.floats(0, 1), st.integers(1, 8), st.integers(0, 2**16))
def test_any_layer_comes_back(tmp_path, rows, columns, density, bits, seed):
    random = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=random) * (torch.rand(rows, columns, generator=random) < density)
    shared = share(weight, bits)
    state = {"w": shared.weight()}
    save_compressed(tmp_path / "layer.bin", state, {"w": shared})
    assert same(load_compressed(tmp_path / "layer.bin", {"w": weight}), state)


def test_a_value_of_zero_is_kept_as_a_value(tmp_path):
    """A centroid may come out as zero: its weights have codes all the same."""
    shared = share(torch.tensor([[-1.0, 0.5, 0.0, 1.0]]), 2)
    shared.codebook[1] = 0.0
    save_compressed(tmp_path / "layer.bin", {"w": shared.weight()}, {"w": shared})
    back = load_compressed(tmp_path / "layer.bin", {"w": shared.weight()})["w"]
    assert back.tolist() == [[-1.0, 0.0, 0.0, 1.0]]


def test_sizes_by_hand(tmp_path):
    """4 × 10 weights, every fourth kept, two values: ten codes of one bit, ten gaps of a byte, two values of four."""
    weight = torch.zeros(4, 10)
    weight.view(-1)[3::4] = torch.tensor([1.0, -1.0] * 5)
    shared, bias = share(weight, 5), torch.zeros(4)
    state = {"w": weight, "b": bias}
    save_compressed(tmp_path / "layer.bin", state, {"w": shared})
    found = sizes(tmp_path / "layer.bin", state, {"w": shared})
    assert found["bytes_dense"] == 4 * 40 + 16
    assert found["bytes_sparse"] == 4 * (10 + 10 + 5) + 16  # values, columns, where the four rows begin and end
    assert found["bytes_shared"] == 8 + 2 + 10 + 16
    assert found["bytes_compressed"] == (tmp_path / "layer.bin").stat().st_size
    assert found["ratio_dense"] == 176 / found["bytes_compressed"]
    assert found["bits_bound"] == 1.0  # one bit says which value; all gaps are alike
    codes, gaps = 1 + 2 * 2 + 2 + 2, 1 + 2 * 2 + 1 + 2
    assert found["bits_weight"] == 8 * (codes + gaps) / 10


def test_eleven_million_weights_take_seconds(tmp_path):
    """A layer as large as ResNet-18: half of it kept, 8 bits."""
    random = np.random.default_rng(0)
    weight = torch.from_numpy(random.standard_normal((1100, 10_000), np.float32))
    kept = weight.abs() > 0.6745
    codes = ((weight[kept] + 6) * 21).clip(0, 255).to(torch.uint8)
    shared = type(share(torch.ones(1, 1), 1))(kept, codes, torch.linspace(-6, 6.1, 256))
    state = {"w": shared.weight()}
    save_compressed(tmp_path / "large.bin", state, {"w": shared})
    assert same(load_compressed(tmp_path / "large.bin", state), state)
    found = sizes(tmp_path / "large.bin", state, {"w": shared})
    assert 0 < found["bits_weight"] - found["bits_bound"] < 0.1
    assert found["ratio_dense"] > 6


def test_missing_torn_and_foreign_files_are_refused(saved, tmp_path):
    net, path = saved
    content = path.read_bytes()
    for name, other, what in [
        ("torn", content[:-3], "torn or damaged"),
        ("flipped", content[:-9] + bytes([content[-9] ^ 4]) + content[-8:], "torn or damaged"),
        ("foreign", b"PK" + content[2:], "not a compressed network of this version"),
        ("empty", b"", "not a compressed network"),
    ]:
        (tmp_path / name).write_bytes(other)
        with pytest.raises(ArtefactError, match=what):
            load_compressed(tmp_path / name, net.state_dict())
    with pytest.raises(ArtefactError, match="missing"):
        load_compressed(tmp_path / "none", net.state_dict())


def rewritten(path, change):
    """Change the header of a file and give it the checksum of what it holds then."""
    content = path.read_bytes()
    start = START + 4
    end = start + int.from_bytes(content[START:start], "little")
    header = json.loads(zlib.decompress(content[start:end]))
    header = change(header) or header
    packed = zlib.compress(json.dumps(header).encode())
    rest = len(packed).to_bytes(4, "little") + packed + content[end:]
    path.write_bytes(MAGIC + hashlib.sha256(rest).digest() + rest)


HOSTILE = {
    "another shape": lambda header: header[0].update(shape=[10**6, 10**6]),
    "a name twice": lambda header: header.append(header[-1]),
    "a name too few": lambda header: header.pop(),
    "an unknown type": lambda header: header[1].update(dtype="object"),
    "another type": lambda header: header[1].update(dtype="float64"),
    "more values": lambda header: header[0].update(values=10**12),
    "fewer values": lambda header: header[0].update(values=1),
    "a negative size": lambda header: header[0]["codes"].__setitem__(1, -5),
    "more codes": lambda header: header[0]["codes"].__setitem__(0, 10**12),
    "fewer gaps": lambda header: header[0]["gaps"].__setitem__(0, 1),
    "text for a number": lambda header: header[0].update(values="many"),
    "a list for a name": lambda header: header[0].update(name=["w"]),
    "no list": lambda header: {"name": 1},
    "no shape": lambda header: header[0].pop("shape") and None,
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_header_with_a_right_checksum_is_refused(saved, change):
    net, path = saved
    rewritten(path, change)
    with pytest.raises(ArtefactError, match=r"small\.bin"):
        load_compressed(path, net.state_dict())


def test_a_header_that_unpacks_without_end_is_refused(saved):
    net, path = saved
    packed = zlib.compress(b" " * 2**26)
    rest = len(packed).to_bytes(4, "little") + packed
    path.write_bytes(MAGIC + hashlib.sha256(rest).digest() + rest)
    with pytest.raises(ArtefactError, match="do not fit together"):
        load_compressed(path, net.state_dict())


def test_another_network_is_refused(saved):
    with pytest.raises(ArtefactError, match="is not a tensor of this network"):
        load_compressed(saved[1], nn.Linear(3, 2).state_dict())


def test_a_type_that_a_file_cannot_hold_is_refused(tmp_path):
    with pytest.raises(ArtefactError, match="holds bfloat16"):
        save_compressed(tmp_path / "half.bin", {"w": torch.zeros(3, dtype=torch.bfloat16)}, {})
