"""Huffman streams: exact both ways, as short as the code's lengths say, damaged ones refused."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunelib.errors import ArtefactError
from prunelib.methods.deep_compression.huffman import decode, encode, entropy, from_gaps, to_gaps

SYMBOLS = st.lists(st.integers(0, 255), max_size=300).map(lambda values: np.array(values, np.uint8))


@settings(deadline=None, max_examples=60)
@given(SYMBOLS)
def test_symbols_come_back(symbols):
    assert np.array_equal(decode(encode(symbols), len(symbols)), symbols)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 700), max_size=8), st.integers(0, 600))
def test_places_come_back_also_over_long_gaps(gaps, behind):
    kept = np.array([place for gap in gaps for place in [False] * gap + [True]] + [False] * behind, bool)
    coded = to_gaps(kept)
    assert coded.dtype == np.uint8 and len(coded) == len(gaps) + sum(gap // 255 for gap in gaps)
    assert np.array_equal(from_gaps(coded, len(kept)), kept)


def test_a_known_code_has_its_known_length():
    """Frequencies 5, 2, 1, 1: codes of 1, 2, 3 and 3 bits, so 5 + 4 + 3 + 3 = 15 bits in two bytes."""
    symbols = np.array([7] * 5 + [9] * 2 + [1, 200], np.uint8)
    table = 1 + 2 * 4 + 4  # lengths 0 to 3, four symbols
    assert len(encode(symbols)) == table + 2
    assert entropy(symbols) * 9 <= 15 < (entropy(symbols) + 1) * 9
    assert entropy(np.array([3, 3], np.uint8)) == entropy(np.zeros(0, np.uint8)) == 0


def test_huffman_is_within_a_bit_of_the_entropy():
    symbols = np.random.default_rng(0).geometric(0.2, 50_000).clip(0, 255).astype(np.uint8)
    bits = 8 * (len(encode(symbols)) - 100) / len(symbols)
    assert entropy(symbols) - 0.02 < bits < entropy(symbols) + 0.1


def test_the_longest_codes_are_held_short_enough_to_decode():
    """Frequencies of Fibonacci's make the deepest tree: 34 bits without a limit."""
    counts = [1, 1]
    while len(counts) < 35:
        counts.append(counts[-1] + counts[-2])
    symbols = np.repeat(np.arange(35, dtype=np.uint8), counts)
    stream = encode(symbols)
    assert stream[0] <= 32
    assert np.array_equal(decode(stream, len(symbols)), symbols)


@pytest.mark.parametrize("change", [-1, 1, 10**15], ids=["fewer", "more", "absurdly many"])
def test_another_number_of_symbols_is_refused(change):
    symbols = np.random.default_rng(1).integers(0, 7, 400).astype(np.uint8)
    stream = encode(np.tile(symbols, 3))
    with pytest.raises(ArtefactError, match="coded symbols are damaged"):
        decode(stream, max(0, 1200 + 8 * change))


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=60), st.integers(0, 200))
def test_any_bytes_are_decoded_or_refused(stream, count):
    with suppress(ArtefactError):
        assert len(decode(stream, count)) == count


def test_places_behind_the_end_are_refused():
    with pytest.raises(ArtefactError, match="one lies at 256 of 200"):
        from_gaps(np.array([255, 1], np.uint8), 200)
