import h5py
import numpy as np
import pytest

from prunelib.errors import ArtefactError
from prunelib.methods.expander.graphs import sample
from prunelib.methods.expander.store import FORMAT, Stored, load_graphs, save_graphs
from prunelib.storage.hdf5 import creating


def graphs():
    return {
        "stage.b": Stored(sample("rreg", 16, 48, 3, 5, "stage.b"), "rreg", 5, 3.0),
        "a": Stored(sample("xnet", 3, 8, 2.5, 6, "a"), "xnet", 6, 2.5),
    }


def test_graphs_come_back_in_order_with_what_they_were_drawn_from(tmp_path):
    save_graphs(tmp_path / "graphs.h5", graphs())
    loaded = load_graphs(tmp_path / "graphs.h5")
    assert list(loaded) == ["stage.b", "a"]
    for name, stored in graphs().items():
        found = loaded[name]
        assert (found.family, found.seed, found.degree) == (stored.family, stored.seed, stored.degree)
        assert found.graph.shape == stored.graph.shape
        assert found.graph.dtype == np.bool_
        assert (found.graph != stored.graph).nnz == 0


def test_the_same_graphs_are_the_same_bytes(tmp_path):
    for name in ("first.h5", "second.h5"):
        save_graphs(tmp_path / name, graphs())
    assert (tmp_path / "first.h5").read_bytes() == (tmp_path / "second.h5").read_bytes()


def test_a_flipped_bit_a_torn_and_a_foreign_file_are_refused(tmp_path):
    path = tmp_path / "graphs.h5"
    save_graphs(path, graphs())
    whole = path.read_bytes()
    for broken in (whole[:-20], whole[:1500] + bytes([whole[1500] ^ 1]) + whole[1501:], b""):
        path.write_bytes(broken)
        with pytest.raises(ArtefactError, match=r"graphs\.h5"):
            load_graphs(path)
    with h5py.File(path, "w") as file:
        file.create_group("graphs")
    with pytest.raises(ArtefactError, match="not an HDF5 file of this project"):
        load_graphs(path)


@pytest.mark.parametrize("cells", [[3, 3], [5, 2], [-1, 2], [0, 24]])
def test_edges_that_are_no_graph_are_refused(tmp_path, cells):
    with creating(tmp_path / "graphs.h5", FORMAT) as file:
        data = file.create_group("graphs").create_dataset("0000", data=np.array(cells))
        data.attrs.update({"layer": "a", "family": "xnet", "seed": 0, "degree": 1.0, "shape": (3, 8)})
    with pytest.raises(ArtefactError, match="edges of 'a' are no graph of 3 × 8"):
        load_graphs(tmp_path / "graphs.h5")
