"""The cache: right key, complete files, damage survived."""

import multiprocessing

import numpy as np
import pytest
import torch

from spacecast.core.errors import UserError
from spacecast.core.grid import Grid
from spacecast.graphs.builders import MeshGraphBuilder
from spacecast.graphs.cache import cache_key, graph_from_dict, graph_to_dict, load_or_build
from spacecast.graphs.reference import ReferenceGraph
from spacecast.graphs.stored import StoredGraph


class Counting(MeshGraphBuilder):
    built = 0

    def build(self, grid):
        type(self).built += 1
        return super().build(grid)


@pytest.fixture
def builder():
    Counting.built = 0
    return Counting("hierarchical", levels=2)


def test_second_time_it_is_read(plane, builder, tmp_path):
    first = load_or_build(builder, plane(), tmp_path / "graphs")
    second = load_or_build(builder, plane(), tmp_path / "graphs")
    assert Counting.built == 1
    assert first.content_hash == second.content_hash
    assert first.recipe == second.recipe
    assert first.length_scale == second.length_scale
    for one, other in zip(first.levels, second.levels, strict=True):
        assert torch.equal(one.positions, other.positions)
    (file,) = (tmp_path / "graphs").iterdir()  # and no temporary file is left
    assert file.name == f"graph-{cache_key(plane(), builder.recipe)}.pt"


def test_key_follows_all_that_the_graph_follows_from(plane):
    grid = plane()
    one_cell_less = grid.valid.copy()
    one_cell_less[0, 0] = False
    x, z = grid.coordinates["x"], grid.coordinates["z"]
    keys = [
        cache_key(grid, MeshGraphBuilder().recipe),
        cache_key(Grid(grid.coordinates, one_cell_less), MeshGraphBuilder().recipe),
        cache_key(Grid({"x": x + 0.1, "z": z}, grid.valid), MeshGraphBuilder().recipe),
        cache_key(Grid({"x": x, "z": z * 1.01}, grid.valid), MeshGraphBuilder().recipe),
        cache_key(Grid({"x": z, "z": x}, grid.valid.T), MeshGraphBuilder().recipe),
        cache_key(grid, MeshGraphBuilder(mesh_to_grid_nearest=3).recipe),
        cache_key(grid, MeshGraphBuilder("multiscale", levels=3).recipe),
        cache_key(grid, ReferenceGraph().recipe),
    ]
    assert len(set(keys)) == len(keys)
    assert cache_key(plane(), MeshGraphBuilder().recipe) == keys[0]


def truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip_a_bit(content: bytes) -> bytes:
    middle = content.find(np.float32(1.0).tobytes(), len(content) // 3)  # in the data of some tensor
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, lambda content: b"", lambda content: b"not a graph"])
def test_damaged_file_is_built_again(plane, builder, tmp_path, damage, caplog):
    graph = load_or_build(builder, plane(), tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    again = load_or_build(builder, plane(), tmp_path)
    assert Counting.built == 2
    assert again.content_hash == graph.content_hash
    assert "damaged" in caplog.text
    assert load_or_build(builder, plane(), tmp_path).content_hash == graph.content_hash
    assert Counting.built == 2


def test_other_content_under_the_name_is_built_again(plane, builder, tmp_path):
    load_or_build(builder, plane(), tmp_path)
    (file,) = tmp_path.iterdir()
    torch.save({"weights": torch.zeros(3)}, file)
    load_or_build(builder, plane(), tmp_path)
    assert Counting.built == 2


def test_unwritable_cache_costs_time_only(plane, builder, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    graph = load_or_build(builder, plane(), tmp_path / "file" / "graphs")
    assert graph.num_grid_nodes == plane().num_nodes
    assert "cannot keep the graph" in caplog.text


def test_a_graph_is_checked_once_whether_it_is_built_or_read(plane, builder, tmp_path, monkeypatch):
    checked = []
    monkeypatch.setattr("spacecast.graphs.cache.validate", lambda graph, grid: checked.append(graph.content_hash))
    hashes = [load_or_build(builder, plane(), tmp_path).content_hash for _ in range(2)]
    assert checked == hashes


def test_a_graph_of_another_grid_under_the_name_is_refused(plane, builder, tmp_path):
    load_or_build(builder, plane(), tmp_path)
    (file,) = tmp_path.iterdir()
    torch.save(graph_to_dict(MeshGraphBuilder("simple").build(plane(hole=6.0))), file)
    with pytest.raises(UserError, match="was built for"):
        load_or_build(builder, plane(), tmp_path)


def test_dictionary_round_trip(plane):
    graph = MeshGraphBuilder("hierarchical", levels=3).build(plane())
    assert graph_from_dict(graph_to_dict(graph)).content_hash == graph.content_hash


def _work(folder: str, results) -> None:
    torch.set_num_threads(1)
    x, z = np.arange(-30.0, 30), np.arange(-20.0, 20)
    grid = Grid({"x": x, "z": z}, np.hypot(x[:, None], z[None, :]) >= 3.85)
    results.put(load_or_build(MeshGraphBuilder("multiscale", levels=3), grid, folder).content_hash)


def test_processes_at_once_agree(tmp_path):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    workers = [context.Process(target=_work, args=(str(tmp_path), results)) for _ in range(4)]
    for worker in workers:
        worker.start()
    hashes = {results.get(timeout=600) for _ in workers}
    for worker in workers:
        worker.join()
    assert len(hashes) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_a_graph_of_files_is_not_copied(tmp_path, reference_dir, reference_grid):
    builder = StoredGraph(reference_dir / "data" / "graph" / "simple")
    assert load_or_build(builder, reference_grid, tmp_path).recipe == builder.recipe
    assert list(tmp_path.iterdir()) == []
