"""Data of another kind than a model was trained on are refused by name, or read in its order and units."""

from dataclasses import replace

import numpy as np
import pytest

from spacecast.core.errors import UserError
from spacecast.core.grid import Grid
from spacecast.core.spec import DataSpec, FeatureSpec
from spacecast.evaluation.evaluator import evaluate

REGIONS = {"inner": {"r_max": 10}, "tail": {"r_min": 10, "x_max": 0}}  # large enough for every score
OPTIONS = {"steps": 2, "members": 2, "regions": REGIONS}


def pick(spec: FeatureSpec, order: list[int]) -> FeatureSpec:
    names, units = (tuple(entries[index] for index in order) for entries in (spec.names, spec.units))
    return FeatureSpec(names, units, spec.mean[order], spec.std[order])


def other_grid(spec: DataSpec, grid: Grid) -> DataSpec:
    static_values = np.column_stack([grid.positions, grid.radius]).astype(np.float32)
    boundary = grid.positions[:, 0] > grid.coordinates["x"][-2] + 0.5
    return replace(spec, grid=grid, static_values=static_values, boundary=boundary)


def turned(spec: DataSpec) -> DataSpec:
    grid = spec.grid
    return other_grid(spec, Grid({"x": grid.coordinates["z"], "z": grid.coordinates["x"]}, grid.valid.T))


def shifted(spec: DataSpec, cells: float) -> DataSpec:
    grid = spec.grid
    x = grid.coordinates["x"] + cells * grid.spacing[0]
    return other_grid(spec, Grid({**grid.coordinates, "x": x}, grid.valid))


def finer(spec: DataSpec) -> DataSpec:
    grid = spec.grid
    return other_grid(spec, Grid({**grid.coordinates, "z": grid.coordinates["z"] / 2}, grid.valid))


def holed(spec: DataSpec) -> DataSpec:
    """As many cells, another hole."""
    return other_grid(spec, Grid(spec.grid.coordinates, np.roll(spec.grid.valid, 1, axis=0)))


def flipped(spec: DataSpec) -> DataSpec:
    """South is up, as the static feature says; plane and mask are symmetric."""
    return replace(spec, static_values=spec.static_values * np.array([1, -1, 1], dtype=np.float32))


def in_units(spec: DataSpec, name: str, unit: str) -> DataSpec:
    units = tuple(unit if other == name else own for other, own in zip(spec.state.names, spec.state.units, strict=True))
    return replace(spec, state=replace(spec.state, units=units))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda spec: replace(spec, step_seconds=20.0), "steps of 10 s, the data have one frame every 20 s"),
        (lambda spec: replace(spec, step_seconds=10.1), "steps of 10 s, the data have one frame every 10.1 s"),
        (turned, "trained on a 12 x 8 plane.*data lie on a 8 x 12 plane"),
        (lambda spec: shifted(spec, 2), "x differs by up to 6 R_E"),
        (lambda spec: shifted(spec, 0.01), "x differs by up to 0.03 R_E"),
        (finer, "z differs by up to 5.25 R_E"),
        (holed, "mask of the data differs in 4 cells"),
        (flipped, "static feature z of the data differs"),
        (lambda spec: in_units(spec, "Bx", "T"), "takes Bx in 'nT', the data hold it in 'T'; evaluation.conv"),
        (lambda spec: in_units(spec, "T", "keV"), "takes T in 'MK', the data hold it in 'keV'; convert them and"),
        (lambda spec: replace(spec, state=pick(spec.state, list(range(11)))), "takes state variable T, but the data"),
        (lambda spec: replace(spec, static=pick(spec.static, [0, 1])), "static variable r, but the data hold x, z"),
    ],
)
def test_data_of_another_kind_are_refused_by_name(store, fakes, change, said: str) -> None:
    trained, store.spec = store.spec, change(store.spec)
    with pytest.raises(UserError, match=said) as caught:
        evaluate(fakes.Persist(), store, spec=trained, **OPTIONS)
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value)  # what to do


def test_a_window_of_the_forcing_must_be_that_of_the_training(store, fakes) -> None:
    now, window = (FeatureSpec(names, ("km/s",) * len(names), np.zeros(len(names)), np.ones(len(names)))
                   for names in (("wind[0]",), ("wind[-1]", "wind[0]")))  # fmt: skip
    trained, store.spec = replace(store.spec, forcing=window), replace(store.spec, forcing=now)
    with pytest.raises(UserError, match=r"forcing variable wind\[-1\], .* datastore.forcing_past"):
        evaluate(fakes.Persist(), store, spec=trained, **OPTIONS)


def test_coordinates_in_single_precision_are_the_same_plane(store, fakes) -> None:
    expected = evaluate(fakes.Persist(), store, **OPTIONS)
    trained, grid = store.spec, store.spec.grid
    x, z = grid.coordinates["x"], grid.coordinates["z"]
    noise = 1e-6 * np.random.default_rng(1).normal(size=x.size)
    store.spec = replace(
        trained,
        grid=Grid({"x": np.float32(x * (1 + noise)), "z": np.float32(z)}, grid.valid),
        static_values=trained.static_values * np.float32(1 + 1e-6),
        step_seconds=10.000001,
    )
    assert evaluate(fakes.Persist(), store, spec=trained, **OPTIONS) == expected


def test_other_statistics_are_no_other_data(store, fakes) -> None:
    trained, state = store.spec, store.spec.state
    expected = evaluate(fakes.Persist(damping=0.9), store, **OPTIONS)
    store.spec = replace(trained, state=replace(state, mean=state.mean + 3, std=2 * state.std), data_hash="other")
    assert evaluate(fakes.Persist(damping=0.9), store, spec=trained, **OPTIONS) == expected


def test_variables_are_taken_by_name(store, fakes, caplog) -> None:
    """In another order, with one more, and in units that are only spelled otherwise."""
    caplog.set_level("INFO")
    trained = store.spec
    expected = evaluate(fakes.Persist(damping=0.9, noise=0.1), store, **OPTIONS)
    order = [3, 11, 0, 5, 1, 2, 10, 4, 9, 8, 6, 7]
    extra = FeatureSpec(("n_alpha",), ("1/cm3",), np.zeros(1), np.ones(1))
    both = pick(trained.state, order), extra
    names, units = (sum((getattr(part, what) for part in both), ()) for what in ("names", "units"))
    units = tuple("cm^-3" if unit == "1/cm3" else unit for unit in units)
    stats = [np.concatenate([getattr(part, what) for part in both]) for what in ("mean", "std")]
    store.spec = replace(trained, state=FeatureSpec(names, units, *stats))
    store.states = np.concatenate([store.states[..., order], store.states[..., :1]], axis=-1)
    assert evaluate(fakes.Persist(damping=0.9, noise=0.1), store, spec=trained, **OPTIONS) == expected
    assert [record.getMessage() for record in caplog.records if "left aside" in record.getMessage()] == [
        "not a variable of the model, and left aside: n_alpha"
    ]


def test_units_are_converted_when_it_is_asked_for(store, fakes) -> None:
    """Truth, boundary and scores are in the model's units; examples as well."""
    trained = store.spec
    options = {**OPTIONS, "regions": {"inner": {"r_max": 10}}}
    expected = evaluate(fakes.Persist(damping=0.9, noise=0.1), store, **options)
    for name, unit, factor in (("Bx", "T", 1e-9), ("Bz", "T", 1e-9), ("rho", "m^-3", 1e6), ("vx", "m/s", 1e3)):
        store.spec = in_units(store.spec, name, unit)
        store.states[..., trained.state.index(name)] *= factor
    with pytest.raises(UserError, match="convert_units=true"):
        evaluate(fakes.Persist(), store, spec=trained, **options)
    found = evaluate(fakes.Persist(damping=0.9, noise=0.1), store, spec=trained, convert_units=True, **options)
    assert [row[:5] for row in found] == [row[:5] for row in expected]
    np.testing.assert_allclose(
        [row.value for row in found], [row.value for row in expected], rtol=2e-5, atol=1e-6
    )


def test_a_unit_that_is_not_said_is_not_compared(store, fakes) -> None:
    """As in checkpoints and data of the published kind."""
    trained = store.spec
    store.spec = replace(trained, state=replace(trained.state, units=("",) * 12))
    scores = evaluate(fakes.Persist(), store, spec=trained, **OPTIONS)
    assert scores.units["Bx"] == "nT"


def test_another_boundary_is_told(store, fakes, caplog) -> None:
    trained = store.spec
    store.spec = replace(trained, boundary=np.zeros(trained.num_nodes, dtype=bool))
    evaluate(fakes.Persist(), store, spec=trained, **OPTIONS)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["datastore.boundary"]
