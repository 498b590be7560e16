"""The noise of a search: a function of key and step, uniform, the same for any number of threads and any history."""

import pytest
import torch

from prunelib.methods.noise import Uniform
from prunelib.seeds import generator


def noise(size=1000, seed=0):
    return Uniform(size, generator(seed, "search"), torch.device("cpu"))


def test_a_draw_depends_on_key_and_step_alone():
    source = noise()
    first = [source.draw(step).clone() for step in range(3)]
    again = noise()
    assert torch.equal(again.draw(2), first[2])  # as a resumed search asks for it
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(noise(seed=1).draw(0), first[0])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_change_it(threads):
    expected = noise().draw(5).clone()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert torch.equal(noise().draw(5), expected)
    finally:
        torch.set_num_threads(before)


def test_it_is_uniform():
    values = noise(200_000).draw(0)
    assert values.min() >= 0 and values.max() < 1
    assert values.mean().item() == pytest.approx(0.5, abs=0.005)
    assert values.var().item() == pytest.approx(1 / 12, abs=0.002)
    quarters = values.reshape(4, -1).mean(dim=1)
    assert torch.allclose(quarters, torch.full((4,), 0.5), atol=0.01) and len(set(quarters.tolist())) == 4
