"""The default recipe: geometry by formula and by brute force."""

import sys

import numpy as np
import pytest
import torch

from spacecast.core.errors import UserError
from spacecast.graphs.builders import MeshGraphBuilder
from spacecast.graphs.edges import node_scale
from spacecast.graphs.validation import validate

LAYOUTS = [("simple", 1), ("multiscale", 3), ("hierarchical", 3)]


def pairs(edges) -> set[tuple[int, int]]:
    return set(zip(edges.senders.tolist(), edges.receivers.tolist(), strict=True))


def eight_neighbour_edges(columns: int, rows: int) -> int:
    """Directed edges of a full lattice with eight neighbours."""
    straight = columns * (rows - 1) + rows * (columns - 1)
    return 2 * (straight + 2 * (columns - 1) * (rows - 1))


@pytest.mark.parametrize(("layout", "levels"), LAYOUTS)
@pytest.mark.parametrize("spacing", [1, 2, 3, 5])
def test_every_layout_and_spacing_is_sound(plane, layout, levels, spacing):
    grid = plane()
    graph = MeshGraphBuilder(layout, levels=levels, mesh_spacing=spacing).build(grid)
    validate(graph, grid)
    assert graph.hierarchical == (layout == "hierarchical")
    for axis in range(2):
        assert np.diff(np.unique(graph.levels[0].positions[:, axis].numpy())).min() == pytest.approx(spacing)


@pytest.mark.parametrize(("columns", "rows", "spacing"), [(30, 20, 1), (61, 40, 3), (24, 33, 4)])
def test_counts_without_earth_follow_the_formula(plane, columns, rows, spacing):
    grid = plane(columns, rows, hole=0.0)
    graph = MeshGraphBuilder("simple", mesh_spacing=spacing, mesh_to_grid_nearest=4).build(grid)
    across, up = (columns - 1) // spacing + 1, (rows - 1) // spacing + 1
    assert graph.levels[0].num_nodes == across * up
    assert graph.levels[0].edges.num_edges == eight_neighbour_edges(across, up)
    assert graph.grid_to_mesh.num_edges == grid.num_nodes
    assert graph.mesh_to_grid.uniform_in_degree == 4


def test_multiscale_has_the_edges_of_all_levels_on_the_finest_nodes(plane):
    grid = plane(54, 36, hole=0.0)
    flat = MeshGraphBuilder("multiscale", levels=3, mesh_spacing=2).build(grid)
    deep = MeshGraphBuilder("hierarchical", levels=3, mesh_spacing=2).build(grid)
    assert [level.num_nodes for level in deep.levels] == [27 * 18, 9 * 6, 3 * 2]
    expected = eight_neighbour_edges(27, 18) + eight_neighbour_edges(9, 6) + eight_neighbour_edges(3, 2)
    assert flat.levels[0].edges.num_edges == expected
    assert flat.levels[0].num_nodes == 27 * 18
    assert sum(level.edges.num_edges for level in deep.levels) == expected


def test_levels_are_nested_and_parents_have_equal_families(plane):
    grid = plane(54, 36, hole=0.0)
    graph = MeshGraphBuilder("hierarchical", levels=3, mesh_spacing=2).build(grid)
    for fine, coarse in zip(graph.levels[:-1], graph.levels[1:], strict=True):
        assert {tuple(at) for at in coarse.positions.tolist()} <= {tuple(at) for at in fine.positions.tolist()}
    assert [edges.uniform_in_degree for edges in graph.up] == [9, 9]


@pytest.mark.parametrize(("layout", "levels"), LAYOUTS)
def test_edge_vectors_are_sender_minus_receiver_everywhere(plane, layout, levels):
    grid = plane()
    graph = MeshGraphBuilder(layout, levels=levels).build(grid)
    cells = torch.as_tensor(grid.positions)
    at = [level.positions.double() for level in graph.levels]
    ends = {"g2m": (cells, at[0]), "m2g": (at[0], cells)}
    for level in range(len(at)):
        ends[f"m2m_{level}"] = (at[level], at[level])
    for level in range(len(at) - 1):
        ends[f"up_{level}"] = (at[level], at[level + 1])
        ends[f"down_{level}"] = (at[level + 1], at[level])
    for name, edges in graph.edge_sets().items():
        start, stop = ends[name]
        vector = (start[edges.senders] - stop[edges.receivers]) / graph.length_scale
        torch.testing.assert_close(edges.features[:, 1:].double(), vector, atol=1e-5, rtol=0)
        torch.testing.assert_close(edges.features[:, 0].double(), vector.norm(dim=1), atol=1e-5, rtol=0)
    longest = max(float(level.edges.features[:, 0].max()) for level in graph.levels)
    assert longest == pytest.approx(1.0)
    torch.testing.assert_close(graph.levels[0].features.double(), at[0] / node_scale(grid), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("layout", "levels"), LAYOUTS)
def test_no_mesh_edge_enters_earth(plane, layout, levels):
    """The chord of every mesh edge stays in cells that carry plasma, sampled finely."""
    grid = plane()
    graph = MeshGraphBuilder(layout, levels=levels, mesh_spacing=2).build(grid)
    for level in graph.levels:
        start, stop = (level.positions[end].numpy() for end in (level.edges.senders, level.edges.receivers))
        for fraction in np.linspace(0, 1, 50):
            at = start + fraction * (stop - start)
            # a line may graze the corner of a cell inside Earth, never pass its middle part
            assert np.hypot(at[:, 0], at[:, 1]).min() > 3.85 - 0.75


def test_inner_radius_widens_the_hole(plane):
    grid = plane(hole=2.0)
    graph = MeshGraphBuilder("hierarchical", levels=2, mesh_spacing=2, inner_radius=7.0).build(grid)
    validate(graph, grid)
    for level in graph.levels:
        assert float(level.positions.norm(dim=1).min()) >= 7.0
        middle = (level.positions[level.edges.senders] + level.positions[level.edges.receivers]) / 2
        assert float(middle.norm(dim=1).min()) > 7.0 - 0.75


def test_mesh_to_grid_are_the_nearest_nodes(plane):
    """Far from Earth nothing hides: distances equal those of a brute-force search."""
    grid = plane(40, 30)
    graph = MeshGraphBuilder("simple", mesh_spacing=3, mesh_to_grid_nearest=4).build(grid)
    mesh = graph.levels[0].positions.numpy()
    distance = np.linalg.norm(grid.positions[:, None] - mesh[None], axis=-1)
    expected = np.sort(distance, axis=1)[:, :4]
    found = graph.mesh_to_grid.features[:, 0].numpy().reshape(-1, 4) * graph.length_scale
    far = grid.radius > 12
    np.testing.assert_allclose(np.sort(found, axis=1)[far], expected[far], atol=1e-4)
    assert (np.sort(found, axis=1) >= expected - 1e-4).all()


def test_grid_to_mesh_is_all_within_the_radius_and_the_nearest(plane):
    grid = plane(40, 30)
    graph = MeshGraphBuilder("simple", mesh_spacing=3, grid_to_mesh_radius=0.8).build(grid)
    mesh = graph.levels[0].positions.numpy()
    distance = np.linalg.norm(grid.positions[:, None] - mesh[None], axis=-1)
    far = np.flatnonzero(grid.radius > 10)
    close = np.argwhere(distance <= 0.8 * 3 + 1e-9)
    expected = {(cell, node) for cell, node in close.tolist() if grid.radius[cell] > 10}
    found = {pair for pair in pairs(graph.grid_to_mesh) if grid.radius[pair[0]] > 10}
    assert expected == {pair for pair in found if distance[pair] <= 0.8 * 3 + 1e-9}
    for cell, node in found - expected:  # farther ones only where they are the nearest
        assert distance[cell, node] == pytest.approx(distance[cell].min())
    assert {cell for cell, _ in found} == set(far.tolist())


@pytest.mark.parametrize("count", [1, 2, 5])
def test_neighbour_counts_are_options(plane, count):
    grid = plane()
    options = dict.fromkeys(("grid_to_mesh_nearest", "mesh_to_grid_nearest", "parents"), count)
    graph = MeshGraphBuilder("hierarchical", levels=2, grid_to_mesh_radius=None, **options).build(grid)
    validate(graph, grid)
    assert graph.mesh_to_grid.uniform_in_degree == count
    assert torch.bincount(graph.grid_to_mesh.senders).unique().tolist() == [count]
    assert graph.down[0].uniform_in_degree == count


def test_equal_cells_get_equal_stencils(plane):
    """Without Earth, cells that lie alike in the mesh are joined to nodes that lie alike."""
    grid = plane(49, 37, hole=0.0)
    graph = MeshGraphBuilder("simple", mesh_spacing=2, mesh_to_grid_nearest=4).build(grid)
    vectors = graph.mesh_to_grid.features[:, 1:].reshape(*grid.shape, 4, 2)
    inner = vectors[4:-4, 4:-4].sort(dim=2).values
    torch.testing.assert_close(inner[2:], inner[:-2], atol=1e-6, rtol=0)
    torch.testing.assert_close(inner[:, 2:], inner[:, :-2], atol=1e-6, rtol=0)


def test_mesh_is_isotropic_on_oblong_cells(plane):
    grid = plane(60, 40, hole=0.0)
    squeezed = type(grid)({**grid.coordinates, "x": grid.coordinates["x"] * 2}, grid.valid)
    graph = MeshGraphBuilder("simple", mesh_spacing=4).build(squeezed)
    x, z = (np.unique(graph.levels[0].positions.numpy()[:, axis]) for axis in (0, 1))
    assert np.diff(x)[0] == pytest.approx(np.diff(z)[0], rel=0.2)


@pytest.mark.parametrize(("shape", "spacing"), [((44, 32), 2), ((90, 60), 3), ((180, 120), 3), ((1006, 671), 5)])
def test_default_spacing_grows_with_the_plane(plane, shape, spacing):
    grid = plane(*shape)
    assert MeshGraphBuilder()._stride(grid) == (spacing, spacing)


def test_same_recipe_and_grid_give_the_same_graph(plane):
    first, second = (MeshGraphBuilder("hierarchical", levels=3).build(plane()) for _ in range(2))
    assert first.content_hash == second.content_hash
    assert MeshGraphBuilder("hierarchical", levels=2).build(plane()).content_hash != first.content_hash


def test_tiny_plane_serves_all_layouts(tiny_grid):
    for layout, levels in LAYOUTS:
        graph = MeshGraphBuilder(layout, levels=levels).build(tiny_grid)
        validate(graph, tiny_grid)
        assert graph.num_grid_nodes == tiny_grid.num_nodes
        assert (len(graph.levels) > 1) == (layout == "hierarchical")


def test_fewer_levels_are_announced(plane, caplog):
    graph = MeshGraphBuilder("hierarchical", levels=9).build(plane())
    assert 1 < len(graph.levels) < 9
    assert "levels=9" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"layout": "hierarchic"}, "did you mean 'hierarchical'"),
        ({"layout": "simple", "levels": 2}, "levels"),
        ({"layout": "multiscale", "levels": 0}, "at least 1"),
        ({"coarsening": 1}, "at least 2"),
        ({"mesh_spacing": 2.5}, "mesh_spacing"),
        ({"mesh_to_grid_nearest": 0}, "mesh_to_grid_nearest"),
        ({"grid_to_mesh_nearest": None}, "grid_to_mesh_nearest"),
        ({"grid_to_mesh_radius": -1.0}, "positive"),
        ({"inner_radius": "far"}, "inner_radius"),
    ],
)
def test_bad_options_are_refused_in_one_line(arguments, words):
    with pytest.raises(UserError, match=words) as caught:
        MeshGraphBuilder(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mesh_spacing": 100}, "use at most 39"),
        ({"layout": "hierarchical", "levels": 3, "coarsening": 50}, "no room"),
        ({"layout": "multiscale", "levels": 1}, "no room"),
    ],
)
def test_impossible_meshes_are_refused(plane, options, words):
    with pytest.raises(UserError, match=words):
        MeshGraphBuilder(**options).build(plane())


def calls_of(grid) -> int:
    """How many functions building a graph calls, those in C included."""
    count = 0

    def tell(_, event: str, __) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(tell)
    try:
        MeshGraphBuilder("hierarchical", levels=3).build(grid)
    finally:
        sys.setprofile(before)
    return count


def test_a_graph_of_real_size_is_built_with_arrays_and_not_node_by_node(real_grid, plane):
    graph = MeshGraphBuilder("hierarchical", levels=3, mesh_to_grid_nearest=4).build(real_grid)
    validate(graph, real_grid)
    assert graph.levels[0].num_nodes > 25_000
    assert graph.mesh_to_grid.num_edges == 4 * real_grid.num_nodes
    small = plane()
    assert real_grid.num_nodes > 50 * small.num_nodes
    assert calls_of(real_grid) < 1.5 * calls_of(small)
