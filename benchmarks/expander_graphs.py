"""Time the expander graph generator and its expansion score against networkx and plain Python.

The last line of a shape is the authors' choice, the best of ``--candidates`` merged graphs by sampled expansion; its
reference is the time of one plain draw and score, times the candidates.
Example: python benchmarks/expander_graphs.py --shapes 512x512x3 512x2048x60 --repeats 5
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from sys import path

import networkx as nx
import numpy as np
from threadpoolctl import threadpool_limits

path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.common import save
from prunelib.methods.expander.graphs import sample
from prunelib.methods.expander.spectra import SUBSETS, expansion

Reference = Callable[[int, int, int], nx.Graph]
COLUMNS = ("shape", "what", "prunelib_ms", "reference_ms", "ratio")


def merged_configuration_model(n_in: int, n_out: int, degree: int) -> nx.Graph:
    """Stubs matched by networkx, parallel edges merged; both sides are regular when one divides the other."""
    stubs = max(n_in, n_out) * degree
    shares = [[stubs // side + (index < stubs % side) for index in range(side)] for side in (n_in, n_out)]
    return nx.Graph(nx.bipartite.configuration_model(*shares, seed=0))


def left_regular(n_in: int, n_out: int, degree: int) -> nx.Graph:
    """Every input draws its outputs with random.sample."""
    draw = random.Random(0)
    graph = nx.Graph()
    for left in range(n_in):
        graph.add_edges_from((left, n_in + right) for right in draw.sample(range(n_out), min(degree, n_out)))
    return graph


def independent_pairs(n_in: int, n_out: int, degree: int) -> nx.Graph:
    """Every pair with probability degree / n_out, by networkx."""
    return nx.bipartite.random_graph(n_in, n_out, degree / n_out, seed=0)


def right_regular(n_in: int, n_out: int, degree: int) -> nx.Graph:
    """Every output draws its inputs with random.sample."""
    return left_regular(n_out, n_in, degree)


def regular_on_the_smaller_side(n_in: int, n_out: int, degree: int) -> nx.Graph:
    """The side with fewer vertices draws."""
    return left_regular(min(n_in, n_out), max(n_in, n_out), degree)


def fixed_number(n_in: int, n_out: int, degree: int) -> nx.Graph:
    """A fixed number of distinct pairs, by networkx."""
    return nx.bipartite.gnmk_random_graph(n_in, n_out, n_in * min(degree, n_out), seed=0)


REFERENCES: dict[str, Reference] = {
    "rreg": merged_configuration_model,
    "rreg_merge": merged_configuration_model,
    "ramanujan": merged_configuration_model,
    "xnet": left_regular,
    "right_regular": right_regular,
    "xnet_original": regular_on_the_smaller_side,
    "random": fixed_number,
    "random_pairs": independent_pairs,
}


def python_expansion(graph: nx.Graph, n_in: int, n_out: int) -> float:
    """The sampled expansion score with sets, one subset after the other."""
    draw, ratios = random.Random(0), []
    for start, side in ((0, n_in), (n_in, n_out)):
        for _ in range(SUBSETS):
            chosen = draw.sample(range(start, start + side), draw.randint(1, max((side + 1) // 2 - 1, 1)))
            ratios.append(len(set().union(*(graph.adj[vertex] for vertex in chosen))) / len(chosen))
    return sum(ratios) / len(ratios)


def seconds(repeats: int, work: Callable[..., object], *arguments: object) -> float:
    """Return the least CPU time of several repetitions."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work(*arguments)
        times.append(time.process_time() - start)
    return min(times)


def rows_of(shape: str, candidates: int, repeats: int) -> Iterator[tuple[str, float, float]]:
    """Yield what is timed at one shape, the seconds it takes and those of its reference."""
    n_in, n_out, degree = (int(part) for part in shape.split("x"))
    for family, reference in REFERENCES.items():
        ours = seconds(repeats, sample, family, n_in, n_out, degree, 0)
        yield family, ours, seconds(repeats, reference, n_in, n_out, degree)
    graph = sample("rreg", n_in, n_out, degree, 0)
    scored = seconds(repeats, expansion, graph, np.random.default_rng(0))
    ours = seconds(repeats, sample, "rreg_merge", n_in, n_out, degree, 0, "", candidates)
    plain = merged_configuration_model(n_in, n_out, degree)  # many objects, which slow down the collection of garbage
    score = seconds(1, python_expansion, plain, n_in, n_out)
    yield "expansion score", scored, score
    theirs = candidates * (seconds(1, merged_configuration_model, n_in, n_out, degree) + score)
    yield f"rreg_merge best of {candidates}", ours, theirs


def main() -> None:
    """Print one line per shape and family, one for the expansion score, one for the choice among many."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["64x64x3", "512x512x3", "512x512x60", "512x2048x60"])
    parser.add_argument("--candidates", type=int, default=100, help="graphs to choose from (default 100)")
    parser.add_argument("--repeats", type=int, default=3, help="the fastest of this many is shown (default 3)")
    parser.add_argument("--csv", type=Path, help="write the table here too, and what it was measured with beside it")
    arguments = parser.parse_args()
    sample("rreg_merge", 4, 4, 2, 0, "", 2)  # compiles the loops
    print(f"{'inputs x outputs x degree':38s} {'prunelib':>13s} {'reference':>15s} {'ratio':>9s}")
    rows = []
    with threadpool_limits(1):  # idle threads of LAPACK spin, and their CPU time would count
        for shape in arguments.shapes:
            for what, ours, theirs in rows_of(shape, arguments.candidates, arguments.repeats):
                rows.append((shape, what, round(1e3 * ours, 3), round(1e3 * theirs, 3), round(theirs / ours, 1)))
                print("{:38s} {:10.2f} ms {:12.2f} ms {:8.0f}x".format(f"{shape} {what}", *rows[-1][2:]), flush=True)
    if arguments.csv:
        save(arguments.csv, str(__doc__), COLUMNS, rows, clock="cpu")


if __name__ == "__main__":
    main()
