"""Data as a model was trained on them: held against what it knows of its own, by name, and read in its units."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from spacecast.core.errors import UserError
from spacecast.core.grid import Grid
from spacecast.core.protocols import Datastore
from spacecast.core.spec import DataSpec, FeatureSpec
from spacecast.core.units import factor
from spacecast.data.contract import forcing_reach, split_range, unbroken

log = logging.getLogger(__name__)

CLOSE = 1e-3  # of a cell or of a time step: what coordinates in single precision may be off
ALIKE = 1e-4  # of the largest value of a static feature


class Advice(NamedTuple):
    """What a user is told to do about data that do not fit.

    other_data: to give other data.
    convert: to have units converted.
    by_hand: with units that nothing here converts.
    """

    other_data: str = "give data like the model's own with datastore.root=DIR"
    convert: str = "evaluation.convert_units=true"
    by_hand: str = "convert them and prepare the data again"


ADVICE = Advice()


class FittedDatastore:
    """A data store in the variables, order and units of a model.

    Args:
        datastore: the data.
        trained: what the model was trained on.
        convert_units: multiply variables in another unit by the pure factor between the two.
        advice: for errors.

    Raises:
        UserError: the data are of another kind; see `check_fit`.

    """

    def __init__(
        self, datastore: Datastore, trained: DataSpec, *, convert_units: bool = False, advice: Advice = ADVICE
    ) -> None:
        given = datastore.spec
        check_fit(trained, given, convert_units=convert_units, advice=advice)
        self._datastore = datastore
        self.train_runs, self.holdout_runs = datastore.train_runs, datastore.holdout_runs
        self.forcing_past, self.forcing_future = forcing_reach(datastore)
        self._state = _Columns(trained.state, given.state)
        self._forcing = _Columns(trained.forcing, given.forcing)
        self.spec = replace(trained, boundary=given.boundary, data_hash=given.data_hash)
        unlike = int((trained.boundary != given.boundary).sum())
        if unlike:
            text = "datastore.boundary: %d cells are driven with true values here or in training, but not in both"
            log.warning(text, unlike)

    def num_frames(self, run: str, split: str) -> int:
        """Frames of one run in a split."""
        return self._datastore.num_frames(run, split)

    def times(self, run: str, split: str) -> np.ndarray:
        """Time stamps of a split, datetime64[ns], shape (frame,)."""
        return self._datastore.times(run, split)

    def split_range(self, run: str, split: str) -> tuple[int, int]:
        """Frames [start, stop) of the run that a split is made of."""
        return split_range(self._datastore, run, split)

    def unbroken(self, run: str, frame: int) -> tuple[int, int]:
        """Frames [start, stop) of the split `all` around one of them that follow each other without a gap."""
        return unbroken(self._datastore, run, frame)

    def read_state(self, run: str, split: str, start: int, stop: int) -> np.ndarray:
        """Frames [start, stop) of a split: (frame, node, state), in the model's order and units."""
        return self._state.pick(self._datastore.read_state(run, split, start, stop))

    def read_forcing(self, run: str, split: str, start: int, stop: int) -> np.ndarray:
        """Forcing of frames [start, stop): (frame, node, forcing), in the model's order and units."""
        return self._forcing.pick(self._datastore.read_forcing(run, split, start, stop))


class _Columns:
    """Which columns of the data a model takes, and by what they are multiplied."""

    def __init__(self, trained: FeatureSpec, given: FeatureSpec) -> None:
        self.columns = given.indices(trained.names)
        self.factors = np.array([_factor(trained, given, name) or 1.0 for name in trained.names])
        self.as_they_are = self.columns == list(range(len(given))) and bool((self.factors == 1).all())
        for name, number in zip(trained.names, self.factors, strict=True):
            if number != 1:
                log.info("%s from %s to %s: times %g", name, _unit(given, name), _unit(trained, name), number)
        aside = [name for name in given.names if name not in trained.names]
        if aside:
            log.info("not a variable of the model, and left aside: %s", ", ".join(aside))

    def pick(self, values: np.ndarray) -> np.ndarray:
        """Values (..., variable) of the data in the model's order and units, float32."""
        return values if self.as_they_are else (values[..., self.columns] * self.factors).astype(np.float32)


def check_fit(
    trained: DataSpec, given: DataSpec, *, convert_units: bool = False, advice: Advice = ADVICE
) -> None:
    """Refuse data of another kind than a model was trained on; statistics, boundary and order may differ.

    Args:
        trained: what the model was trained on.
        given: the data.
        convert_units: whether units that differ by a pure factor will be converted.
        advice: for the error.

    Raises:
        UserError: step, plane, mask, variables, units or static features differ; the first that does is named.

    """
    for fault in misfits(trained, given, convert_units=convert_units, advice=advice):
        raise UserError(fault)


def misfits(
    trained: DataSpec, given: DataSpec, *, convert_units: bool = False, advice: Advice = ADVICE
) -> Iterator[str]:
    """Sentences on whatever makes data another kind than a model was trained on."""
    if abs(given.step_seconds - trained.step_seconds) > CLOSE * trained.step_seconds:
        steps = f"steps of {trained.step_seconds:g} s, the data have one frame every {given.step_seconds:g} s"
        yield f"the model forecasts {steps}; {advice.other_data}"
    yield from (f"{fault}; {advice.other_data}" for fault in _other_plane(trained.grid, given.grid))
    for category in ("state", "forcing", "static"):
        ours, theirs = getattr(trained, category), getattr(given, category)
        missing = [name for name in ours.names if name not in theirs.names]
        if missing:
            window = category == "forcing" and len(theirs)
            wider = "set datastore.forcing_past and datastore.forcing_future as in training"
            way = wider if window else advice.other_data
            held = ", ".join(theirs.names) or "none"
            yield f"the model takes {category} variable {missing[0]}, but the data hold {held}; {way}"
        shared = [name for name in ours.names if name not in missing]
        for fault, factor_known in _other_units(ours, theirs, shared):
            if not factor_known:
                yield f"{fault}; {advice.by_hand}"
            elif not convert_units:
                yield f"{fault}; {advice.convert} converts them"
    if trained.num_nodes == given.num_nodes:
        yield from (f"{fault}; {advice.other_data}" for fault in _other_static(trained, given))


def _other_plane(trained: Grid, given: Grid) -> Iterator[str]:
    """Another shape, place or mask."""
    planes = f"the model was trained on a {trained}, the data lie on a {given}"
    if (trained.axes, trained.shape) != (given.axes, given.shape):
        yield planes
        return
    for axis, size in zip(trained.axes, trained.spacing, strict=True):
        off = float(np.abs(trained.coordinates[axis] - given.coordinates[axis]).max())
        if off > CLOSE * size:
            yield f"{planes}: {axis} differs by up to {off:.3g} R_E"
            return
    unlike = int((trained.valid != given.valid).sum())
    if unlike:
        yield f"the mask of the data differs in {unlike} cells from that of the model's own"


def _other_units(ours: FeatureSpec, theirs: FeatureSpec, names: list[str]) -> Iterator[tuple[str, bool]]:
    """Units that differ, and whether they can be converted."""
    for name in names:
        number = _factor(ours, theirs, name)
        if number != 1:
            units = f"{_unit(ours, name)!r}, the data hold it in {_unit(theirs, name)!r}"
            yield f"the model takes {name} in {units}", number is not None


def _other_static(trained: DataSpec, given: DataSpec) -> Iterator[str]:
    """Static features that lie elsewhere, upside down for example."""
    for name in trained.static.names:
        number = _factor(trained.static, given.static, name) if name in given.static.names else None
        if number is None:
            continue
        before = trained.static_values[:, trained.static.index(name)]
        now = given.static_values[:, given.static.index(name)] * number
        off = float(np.abs(before - now).max())
        if not off <= ALIKE * float(np.abs(before).max()):
            yield f"static feature {name} of the data differs by up to {off:.3g} from the model's own"


def _unit(spec: FeatureSpec, name: str) -> str:
    """Unit of a variable."""
    return spec.units[spec.index(name)]


def _factor(ours: FeatureSpec, theirs: FeatureSpec, name: str) -> float | None:
    """What turns the data's values of a variable into the model's; 1 where a unit is not said."""
    wanted, found = _unit(ours, name), _unit(theirs, name)
    return factor(found, wanted) if wanted and found else 1.0
