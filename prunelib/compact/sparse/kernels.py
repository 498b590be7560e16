"""Compiled loops of kernel-sparse layers and max-pooling over arrays laid out (channels, height, width, batch).

The batch is innermost, so every loop runs over contiguous numbers whatever the sizes of kernel, stride and image. A
call works on the range [low, high) of channels or edges and writes what belongs to them alone: the result does not
depend on how the work is divided among threads. Importing this module imports numba; code is compiled at the first call
for a number type and kept on disk. Tables of taps are those of ``prunelib.compact.sparse.windows``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from prunelib.compiled import compiled

Array = np.ndarray
BLOCK = 2048  # numbers per pass: some rows of that length fit into the first cache


@compiled("contract")
def _add1(y: Array, a: float, x: Array) -> None:
    for i in range(y.shape[0]):
        y[i] += a * x[i]


@compiled("contract")
def _add4(y: Array, a: float, b: float, c: float, d: float, p: Array, q: Array, r: Array, s: Array) -> None:
    for i in range(y.shape[0]):
        y[i] += a * p[i] + b * q[i] + c * r[i] + d * s[i]


@compiled()
def _accumulate(y: Array, x: Array, starts: Array, factors: Array, count: int) -> None:
    """Add the sum over t of factors[t] * x[starts[t] : starts[t] + len(y)] to y, four terms a pass."""
    n, t = y.shape[0], 0
    while t + 4 <= count:
        p, q, r, s = starts[t], starts[t + 1], starts[t + 2], starts[t + 3]
        a, b, c, d = factors[t], factors[t + 1], factors[t + 2], factors[t + 3]
        _add4(y, a, b, c, d, x[p : p + n], x[q : q + n], x[r : r + n], x[s : s + n])
        t += 4
    while t < count:
        _add1(y, factors[t], x[starts[t] : starts[t] + n])
        t += 1


@compiled()
def convolve(
    y: Array, x: Array, weight: Array, bias: Array, graph: Any, rows: Any, columns: Any, sizes: Any, low: int, high: int
) -> None:
    """Fill channels [low, high) of y: bias plus, over their edges and taps, weight times shifted channels of x.

    y, x: flat; weight: (edges, kernel height, kernel width); graph: (pointers, channels of x, rows of weight) of the
    channels of y; rows, columns: ``windows.Taps``; sizes: (rows of y, columns of y, rows of x, columns of x, batch).
    """
    pointers, channels, which = graph
    row_pointers, row_taps, row_sources = rows[2:]
    first, run, column_pointers, column_taps, column_sources = columns
    height, width, x_height, x_width, batch = sizes
    most = 0
    for o in range(low, high):
        most = max(most, pointers[o + 1] - pointers[o])
    starts = np.empty(most * weight.shape[1] * weight.shape[2], np.int64)
    factors = np.empty(starts.shape[0], weight.dtype)
    for o in range(low, high):
        for h in range(height):
            for c in range(first.shape[0]):
                count = 0
                for e in range(pointers[o], pointers[o + 1]):
                    for i in range(row_pointers[h], row_pointers[h + 1]):
                        row = (channels[e] * x_height + row_sources[i]) * x_width
                        for j in range(column_pointers[c], column_pointers[c + 1]):
                            starts[count] = (row + column_sources[j]) * batch
                            factors[count] = weight[which[e], row_taps[i], column_taps[j]]
                            count += 1
                at = ((o * height + h) * width + first[c]) * batch
                end = at + run[c] * batch
                while at < end:
                    n = min(BLOCK, end - at)
                    part = y[at : at + n]
                    part[:] = bias[o]
                    _accumulate(part, x, starts, factors, count)
                    starts[:count] += n
                    at += n


@compiled("contract", "reassoc", "nsz")
def _dot1(g: Array, x: Array) -> float:
    total = g.dtype.type(0)
    for i in range(g.shape[0]):
        total += g[i] * x[i]
    return total


@compiled("contract", "reassoc", "nsz")
def _dot3(g: Array, x: Array, y: Array, z: Array) -> Any:
    a = b = c = g.dtype.type(0)
    for i in range(g.shape[0]):
        a += g[i] * x[i]
        b += g[i] * y[i]
        c += g[i] * z[i]
    return a, b, c


@compiled()
def correlate(
    gradient: Array, g: Array, x: Array, graph: Any, rows: Any, columns: Any, sizes: Any, low: int, high: int
) -> None:
    """Fill the weight's gradient of edges [low, high): per tap, g's channel times x's shifted one, summed.

    Arguments as in ``convolve``, but graph: (channels of g, channels of x) of the edges. Sums of up to BLOCK products
    are added in double precision.
    """
    targets, channels = graph
    row_pointers, row_taps, row_sources = rows[2:]
    first, run, column_pointers, column_taps, column_sources = columns
    height, width, x_height, x_width, batch = sizes
    total = np.empty(gradient.shape[1:], np.float64)
    for e in range(low, high):
        total[:] = 0
        for h in range(height):
            for c in range(first.shape[0]):
                base = ((targets[e] * height + h) * width + first[c]) * batch
                for done in range(0, run[c] * batch, BLOCK):
                    n = min(BLOCK, run[c] * batch - done)
                    part = g[base + done : base + done + n]
                    for i in range(row_pointers[h], row_pointers[h + 1]):
                        row = (channels[e] * x_height + row_sources[i]) * x_width
                        sums, j, end = total[row_taps[i]], column_pointers[c], column_pointers[c + 1]
                        while j + 3 <= end:
                            p = (row + column_sources[j]) * batch + done
                            q = (row + column_sources[j + 1]) * batch + done
                            r = (row + column_sources[j + 2]) * batch + done
                            found = _dot3(part, x[p : p + n], x[q : q + n], x[r : r + n])
                            sums[column_taps[j]] += found[0]
                            sums[column_taps[j + 1]] += found[1]
                            sums[column_taps[j + 2]] += found[2]
                            j += 3
                        while j < end:
                            p = (row + column_sources[j]) * batch + done
                            sums[column_taps[j]] += _dot1(part, x[p : p + n])
                            j += 1
        gradient[e] = total


@compiled()
def pool(y: Array, chosen: Array, x: Array, window: Any, sizes: Any, low: int, high: int) -> None:
    """Fill channels [low, high) of y with the largest number of each window and of chosen with its tap, the first one.

    window: (kernel height, kernel width); windows touch but don't overlap; sizes as in ``convolve``. NaN wins.
    """
    height, width, x_height, x_width, batch = sizes
    for at in range(low * height, high * height):
        o, h = at // height, at % height
        for w in range(width):
            out = (at * width + w) * batch
            best, which = y[out : out + batch], chosen[out : out + batch]
            for i in range(window[0]):
                for j in range(window[1]):
                    start = ((o * x_height + h * window[0] + i) * x_width + w * window[1] + j) * batch
                    _take(best, which, x[start : start + batch], i * window[1] + j)


@compiled()
def _take(best: Array, which: Array, x: Array, tap: int) -> None:
    for n in range(x.shape[0]):
        if tap == 0 or x[n] > best[n] or x[n] != x[n]:
            best[n], which[n] = x[n], tap


@compiled()
def unpool(gradient: Array, g: Array, chosen: Array, window: Any, sizes: Any, low: int, high: int) -> None:
    """Fill the inputs of the windows of channels [low, high): the output's gradient at its tap, zero at the others."""
    height, width, x_height, x_width, batch = sizes
    for at in range(low * height, high * height):
        o, h = at // height, at % height
        for w in range(width):
            out = (at * width + w) * batch
            for i in range(window[0]):
                for j in range(window[1]):
                    start = ((o * x_height + h * window[0] + i) * x_width + w * window[1] + j) * batch
                    part = gradient[start : start + batch]
                    _give(part, g[out : out + batch], chosen[out : out + batch], i * window[1] + j)


@compiled()
def _give(part: Array, g: Array, which: Array, tap: int) -> None:
    for n in range(part.shape[0]):
        part[n] = g[n] if which[n] == tap else 0
