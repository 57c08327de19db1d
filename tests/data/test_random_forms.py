"""However a run is stored, its scores are those of the plain store, or one line names the fault."""

import logging
import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from random_forms import (
    FAULTS,
    FRAMES,
    NAMES,
    SPACE,
    UNITS,
    Clock,
    Form,
    X,
    Z,
    clocks,
    forms,
    raw_dataset,
    truth,
    write_prepared,
)

from spacecast.core.errors import UserError
from spacecast.core.grid import Grid
from spacecast.core.spec import DataSpec, FeatureSpec
from spacecast.data.configs import write_configs
from spacecast.data.dataset import DatasetStore, open_source
from spacecast.data.datastore import RunDatastore
from spacecast.data.fit import FittedDatastore
from spacecast.data.prepare import prepare
from spacecast.evaluation.evaluator import evaluate
from spacecast.models.persistence import Persistence

LEADS = 2
CALM = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)


def persistence_rmse(root) -> tuple[np.ndarray, RunDatastore]:
    """RMSE of persistence by variable and lead on the test split, through the evaluation of the package."""
    data = RunDatastore(root, [1])
    scores = evaluate(Persistence(data.spec, None), data, split="test", steps=LEADS)
    return np.stack([scores.series("rmse", name)[1] for name in NAMES]), data


def right_rmse() -> np.ndarray:
    """The same from the closed form: the test split has four frames, hence one forecast, from its second frame."""
    start, *later = truth()[-3:, SPACE]
    return np.stack([np.sqrt(((frame - start) ** 2).mean(axis=0)) for frame in later], axis=1)


def check(root, clock: Clock, error: float) -> None:
    """Scores, statistics and cadence are those of the plain store."""
    found, data = persistence_rmse(root)
    nodes = truth()[:, SPACE]
    np.testing.assert_allclose(found, right_rmse(), atol=2 * error)
    np.testing.assert_allclose(data.read_state(1, "all", 0, len(nodes)), nodes, atol=error)
    start, stop = data.split_range(1, "train")
    np.testing.assert_allclose(data.spec.state.mean, nodes[start:stop].mean(axis=(0, 1)), atol=error)
    np.testing.assert_allclose(data.spec.state.std, nodes[start:stop].std(axis=(0, 1)), atol=2 * error)
    assert data.spec.step_seconds == pytest.approx(clock.step, rel=1e-6)


@pytest.mark.slow
@settings(CALM, max_examples=200)
@given(form=forms(), clock=clocks(), fault=st.sampled_from((None, None, *FAULTS)))
def test_prepared_store_of_any_form(tmp_path_factory, form: Form, clock: Clock, fault: str | None):
    root = tmp_path_factory.getbasetemp() / "random_prepared"
    root.mkdir(exist_ok=True)
    error = write_prepared(root, form, clock, fault)
    told, refusal, wrong = Told(), None, None
    try:
        check(root, clock, error)
    except UserError as found:
        refusal = str(found)
    except AssertionError as found:
        wrong = found
    finally:
        told.close()
    if refusal is not None:
        assert fault is not None, refusal
        assert "\n" not in refusal
        assert len(refusal) < 420
    elif wrong is not None:  # (what zarr reads as 0 may be 0: told in a warning)
        assert fault == "chunk removed", wrong
        assert any("are not stored" in line for line in told.lines), wrong
    else:  # (a chunk of cells inside Earth, or of zeros)
        assert fault in (None, "chunk removed", "chunk cut")


@pytest.mark.slow
@settings(CALM, max_examples=40)
@given(form=forms(), clock=clocks())
def test_a_raw_run_that_somebody_has_opened(tmp_path_factory, form: Form, clock: Clock):
    """Right where we open it; where xarray does, right or refused in one line."""
    root = tmp_path_factory.getbasetemp() / "random_opened"
    root.mkdir(exist_ok=True)
    error, path = raw_dataset(form, clock, root), root / "run_1.zarr"
    for opened in (open_source(path), by_xarray(path)):
        refusal = None
        try:
            found = read_all(opened, clock.step)
        except UserError as told:
            refusal = str(told)
        if refusal is not None:
            assert opened.attrs.get("by") == "xarray", refusal
            assert "\n" not in refusal
        else:
            np.testing.assert_allclose(found, truth()[:, SPACE], atol=error)


def read_all(opened: xr.Dataset, step: float) -> np.ndarray:
    """All frames as a model without static features takes them."""
    grid, none = Grid({"x": X, "z": Z}, SPACE), FeatureSpec.empty()
    nodes, zeros, ones = grid.num_nodes, np.zeros(3), np.ones(3)
    state, boundary = FeatureSpec(NAMES, UNITS, zeros, ones), np.zeros(nodes, dtype=bool)
    spec = DataSpec(grid, state, none, none, zeros, ones, np.empty((nodes, 0)), boundary, step)
    store = FittedDatastore(DatasetStore(opened, spec), spec)
    return store.read_state(store.train_runs[0], "all", 0, FRAMES)


def by_xarray(path) -> xr.Dataset:
    """A store as xarray opens it; an empty one where it cannot."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return xr.open_zarr(path, chunks=None).assign_attrs(by="xarray")
        except (TypeError, ValueError, NotImplementedError):
            return xr.Dataset(attrs={"by": "xarray"})


class Told(logging.Handler):
    """Lines that the package logs as warnings while it is open."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        logging.getLogger("spacecast").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def close(self) -> None:
        logging.getLogger("spacecast").removeHandler(self)
        super().close()


@pytest.mark.slow
@settings(CALM, max_examples=12)
@given(form=forms(), clock=clocks())
def test_raw_run_of_any_form_through_the_preparation(tmp_path_factory, form: Form, clock: Clock):
    root = tmp_path_factory.getbasetemp() / "random_raw"
    root.mkdir(exist_ok=True)
    error = raw_dataset(form, clock, root)
    write_configs(root, fractions=(0.5, 0.2, 0.3), overwrite=True)
    prepare(root, [1], overwrite=True)
    check(root, clock, error)
