"""The description of the data: a stored one is the same, field by field."""

from dataclasses import fields, is_dataclass, replace

import numpy as np
import torch

from spacecast.core.grid import Grid
from spacecast.core.spec import DataSpec, FeatureSpec


def described() -> DataSpec:
    """A description in which no two fields and no two entries are alike."""
    rng = np.random.default_rng(0)

    def category(prefix: str, count: int) -> FeatureSpec:
        names = tuple(f"{prefix}{number}" for number in range(count))
        return FeatureSpec(names, tuple(f"u{name}" for name in names), rng.normal(size=count), rng.normal(size=count))

    valid = rng.random((5, 4)) > 0.3
    grid = Grid({"x": np.linspace(-2, 7, 5), "z": np.linspace(1, 2, 4)}, valid)
    return DataSpec(
        grid=grid,
        state=category("s", 3),
        static=category("t", 2),
        forcing=category("f", 4),
        diff_mean=rng.normal(size=3).astype(np.float32),
        diff_std=rng.normal(size=3).astype(np.float32),
        static_values=rng.normal(size=(grid.num_nodes, 2)).astype(np.float32),
        boundary=rng.random(grid.num_nodes) > 0.5,
        step_seconds=12.5,
        data_hash="v2:0123",
        lower=rng.normal(size=(grid.num_nodes, 3)).astype(np.float32),
        upper=rng.normal(size=(grid.num_nodes, 3)).astype(np.float32),
    )


def differences(one: object, two: object, name: str = "spec") -> list[str]:
    """Fields in which two descriptions differ, dataclasses field by field, arrays with their types."""
    if is_dataclass(one):
        each = [differences(getattr(one, f.name), getattr(two, f.name), f"{name}.{f.name}") for f in fields(one)]
        return [path for paths in each for path in paths]
    if isinstance(one, dict):
        each = [differences(one[key], two.get(key), f"{name}.{key}") for key in one]
        return [path for paths in each for path in paths] + [f"{name}.{key}" for key in two.keys() - one.keys()]
    if isinstance(one, np.ndarray):
        same = isinstance(two, np.ndarray) and one.dtype == two.dtype and np.array_equal(one, two)
    else:
        same = type(one) is type(two) and one == two
    return [] if same else [name]


def test_a_stored_description_is_the_same_field_by_field(tmp_path):
    spec = described()
    assert differences(spec, DataSpec.from_dict(spec.to_dict())) == []
    torch.save(tensors(spec.to_dict()), tmp_path / "spec.pt")
    assert differences(spec, DataSpec.from_dict(torch.load(tmp_path / "spec.pt", weights_only=True))) == []


def tensors(values):
    """The same with tensors in place of arrays, as a checkpoint holds it."""
    if isinstance(values, dict):
        return {key: tensors(value) for key, value in values.items()}
    return torch.from_numpy(values) if isinstance(values, np.ndarray) else values


def test_every_field_is_stored():
    """A field that storing forgets has its default, or that of another, afterwards: change each one and look."""
    spec = described()
    other = replace(
        spec,
        grid=Grid({**spec.grid.coordinates, "z": spec.grid.coordinates["z"] + 1}, spec.grid.valid),
        **{name: getattr(spec, name) + 1 for name in ("diff_mean", "diff_std", "static_values", "step_seconds")},
        **{name: getattr(spec, name) + 1 for name in ("lower", "upper")},
        **{name: replace(getattr(spec, name), mean=getattr(spec, name).mean + 1) for name in CATEGORIES},
        boundary=~spec.boundary,
        data_hash="v2:4567",
    )
    changed = {path.split(".")[1] for path in differences(spec, other)}
    stored = {field.name for field in fields(DataSpec)} - {"part"}  # facts of the whole are, by whoever has them
    assert changed == stored
    assert differences(other, DataSpec.from_dict(other.to_dict())) == []
    assert set(spec.to_dict()) == stored
    assert set(spec.to_dict()["state"]) == {field.name for field in fields(FeatureSpec)}


CATEGORIES = ("state", "static", "forcing")


def test_a_description_without_ranges_is_stored_as_before_there_were_any():
    spec = replace(described(), lower=None, upper=None)
    assert not {"lower", "upper"} & set(spec.to_dict())
    assert differences(spec, DataSpec.from_dict(spec.to_dict())) == []


def test_the_boundary_says_what_is_driven_and_what_is_left():
    spec = described()
    np.testing.assert_array_equal(spec.interior, ~spec.boundary)
    np.testing.assert_array_equal(spec.interior_nodes, np.flatnonzero(spec.interior))
    assert spec.driven is spec.boundary
    assert replace(spec, boundary=np.zeros_like(spec.boundary)).driven is None
