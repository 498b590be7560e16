"""Sparse layers equal masked dense ones: outputs, all gradients, in every form, for random shapes."""

import copy
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from prunelib.compact.sparse import functions
from prunelib.compact.sparse.layers import SparseConv2d, SparseLinear
from prunelib.errors import MethodError

FORMS = ["kernel", "gather", "dense"]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


def _pair(dense, keep, seed, form):
    """A masked dense layer and its sparse twin; each kernel is kept with probability ``keep``."""
    random = torch.Generator().manual_seed(seed)
    kernels = torch.rand(dense.weight.shape[:2], generator=random) < keep
    mask = kernels.view(*kernels.shape, *[1] * (dense.weight.dim() - 2)).expand_as(dense.weight).clone()
    with torch.no_grad():
        for parameter in dense.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random, dtype=parameter.dtype))
        dense.weight *= mask
    kind = SparseLinear if isinstance(dense, nn.Linear) else SparseConv2d
    return dense, kind(copy.deepcopy(dense), mask, form), mask


def _close(found, expected):
    assert found.shape == expected.shape
    if expected.numel():
        scale = expected.abs().max().clamp(min=1)
        assert (found - expected).abs().max() <= TOLERANCE[expected.dtype] * scale


def _compare(dense, sparse, mask, x):
    xs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [layer(given) for layer, given in zip((dense, sparse), xs, strict=True)]
    _close(outputs[1], outputs[0])
    direction = torch.randn(outputs[0].shape, generator=torch.Generator().manual_seed(5), dtype=x.dtype)
    for output in outputs:
        output.backward(direction)
    _close(xs[1].grad, xs[0].grad)
    kept = mask.reshape(*mask.shape[:2], -1).any(2)
    _close(sparse.weight.grad, dense.weight.grad[kept])
    if dense.bias is not None:
        _close(sparse.bias.grad, dense.bias.grad)


@settings(deadline=None, max_examples=60)
@given(
    form=st.sampled_from(FORMS),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    channels=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    groups=st.sampled_from([1, 1, 2]),
    kernel=st.sampled_from([1, 3, 5, (3, 1)]),
    stride=st.sampled_from([1, 2, 3, (1, 2)]),
    padding=st.sampled_from([0, 1, 2, (0, 2), "same", "valid"]),
    dilation=st.sampled_from([1, 1, 2]),
    sides=st.tuples(st.integers(9, 12), st.integers(9, 12)),
    batch=st.integers(1, 5),
    keep=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
    bias=st.booleans(),
    last=st.booleans(),
    seed=st.integers(0, 99),
)
def test_convolution_equals_masked_dense(
    form, dtype, channels, groups, kernel, stride, padding, dilation, sides, batch, keep, bias, last, seed
):
    stride = 1 if padding == "same" else stride
    n_in, n_out = (groups * side for side in channels)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "bias": bias}
    dense, sparse, mask = _pair(nn.Conv2d(n_in, n_out, kernel, dtype=dtype, **options), keep, seed, form)
    x = torch.randn(batch, n_in, *sides, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    _compare(dense, sparse, mask, x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2) if last else x)


@settings(deadline=None, max_examples=30)
@given(
    form=st.sampled_from(FORMS),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    sides=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    lead=st.sampled_from([(1,), (5,), (2, 3)]),
    keep=st.sampled_from([0.0, 0.2, 1.0]),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_linear_equals_masked_dense(form, dtype, sides, lead, keep, bias, seed):
    dense, sparse, mask = _pair(nn.Linear(*sides, bias=bias, dtype=dtype), keep, seed, form)
    _compare(dense, sparse, mask, torch.randn(*lead, sides[0], generator=torch.Generator().manual_seed(1), dtype=dtype))


def test_threads_change_no_bit():
    before = torch.get_num_threads()
    _, sparse, _ = _pair(nn.Conv2d(64, 64, 3, padding=1), 0.1, 0, "kernel")
    x = torch.randn(16, 64, 16, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
    found = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            y = sparse(x)
            found.append([y, *torch.autograd.grad(y.square().sum(), [x, sparse.weight])])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_gradcheck():
    _, sparse, _ = _pair(nn.Conv2d(3, 4, 3, stride=2, padding=1, dtype=torch.float64), 0.5, 1, "kernel")
    x = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)

    def run(x, weight, bias):
        return torch.func.functional_call(sparse, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(run, (x, sparse.weight, sparse.bias))


def test_only_kept_kernels_are_parameters_and_a_round_trip_changes_no_bit():
    dense, sparse, mask = _pair(nn.Conv2d(8, 6, 3, stride=2, padding=1, groups=2), 0.4, 2, "kernel")
    edges = int(mask.flatten(2).any(2).sum())
    assert [tuple(p.shape) for p in sparse.parameters()] == [(edges, 3, 3), (6,)]
    back = sparse.dense()
    assert repr(back) == repr(dense)
    assert all(torch.equal(tensor, dense.state_dict()[name]) for name, tensor in back.state_dict().items())
    linear, sparse, _ = _pair(nn.Linear(9, 5), 0.3, 2, "kernel")
    assert torch.equal(sparse.dense().weight, linear.weight)


def test_state_goes_round_and_a_copy_is_its_own(tmp_path):
    _, sparse, _ = _pair(nn.Conv2d(6, 6, 3), 0.4, 3, "kernel")
    x = torch.randn(2, 6, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.save(sparse.state_dict(), tmp_path / "state.pt")
    twin = copy.deepcopy(sparse)
    with torch.no_grad():
        twin.weight.zero_()
    assert not torch.equal(sparse(x), twin(x))
    twin.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(sparse(x), twin(x))


def test_a_state_along_other_edges_is_refused():
    dense = nn.Conv2d(2, 2, 3)
    first, second = (torch.zeros(2, 2, 3, 3, dtype=torch.bool) for _ in range(2))
    first[0, 0], second[1, 1] = True, True
    with pytest.raises(RuntimeError, match="keeps other kernels"):
        SparseConv2d(dense, first).load_state_dict(SparseConv2d(dense, second).state_dict())


def test_masks_that_do_not_fit_are_refused():
    dense = nn.Conv2d(2, 2, 3)
    mask = torch.ones(2, 2, 3, 3, dtype=torch.bool)
    with pytest.raises(MethodError, match="needs"):
        SparseConv2d(dense, mask[:1])
    mask[0, 0, 0, 0] = False
    with pytest.raises(MethodError, match="parts of kernels"):
        SparseConv2d(dense, mask)
    with pytest.raises(MethodError, match="circular"):
        SparseConv2d(nn.Conv2d(2, 2, 3, padding_mode="circular"), torch.ones_like(mask))


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (1, 2, 2, 2), (2, 2)])
def test_wrong_inputs_raise_as_in_torch(shape):
    dense, sparse, _ = _pair(nn.Conv2d(2, 2, 3), 0.9, 0, "kernel")
    with pytest.raises(RuntimeError) as ours:
        sparse(torch.zeros(shape))
    with pytest.raises(RuntimeError) as theirs:
        dense(torch.zeros(shape))
    assert str(ours.value) == str(theirs.value)


def test_without_numba_dense_weights_are_multiplied(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "numba", None)
    for module in ("prunelib.compiled", "prunelib.compact.sparse.kernels"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.delattr("prunelib.compact.sparse.kernels", raising=False)
    functions.kernels.cache_clear()
    try:
        dense, sparse, mask = _pair(nn.Conv2d(5, 7, 3, padding=1), 0.5, 0, "kernel")
        _compare(dense, sparse, mask, torch.randn(2, 5, 8, 8))
        assert "numba" in caplog.text
    finally:
        functions.kernels.cache_clear()
