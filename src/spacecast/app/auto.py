"""The word `auto`: in the section `model` what the data allow, as `trainer.precision` what the machine is fast at.

Both are found once, before the model is built. Run folder, checkpoints, tracked parameters and exported models then
hold what was found, so that nothing which uses them looks at the data again.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spacecast.app.run_records import recorded_config
from spacecast.app.start import Start
from spacecast.config.binding import defaults_of
from spacecast.config.command import Inputs, Plain
from spacecast.config.schema import Section, Train
from spacecast.config.targets import locate
from spacecast.core.errors import UserError
from spacecast.process.run_folder import CONFIG_FILE, write_config
from spacecast.process.signals import first_process

if TYPE_CHECKING:
    from spacecast.core.protocols import Datastore
    from spacecast.core.spec import DataSpec

log = logging.getLogger(__name__)

AUTO, PRECISION = "auto", "precision"
SMALL = 1e-3  # of |B| / dx, E, P: what round-off leaves of div B, E + v x B, P - n k T is far below
SHARE = 0.1  # of its range in the training runs, by which a guard lets a value leave it
MOST = 3  # runs, and frames of each, that are looked at


class Choice(NamedTuple):
    """What a key is, and why it is not what a model that obeys the laws of the data would have."""

    value: Any
    reason: str = ""


def decided(section: Section, spec: "DataSpec", frames: Sequence[np.ndarray] | None) -> Section:
    """A section `model` without `auto`; one line of the log says what took its place.

    magnetic: `potential` where div B of all frames is small. electric: `ideal` where E + v x B is. state_law:
    `forecasts` where P - n k T is. inputs: `tendencies` where the data have what these need, else the default of the
    model, `stencil` or `increments`. guard: a tenth of the range, where the data know it.

    Args:
        section: of the configuration.
        spec: facts of the data.
        frames: a few of them, shape (node, state), in physical units; None: of a simulation that is yet to be made and
            obeys all laws.

    """
    keys = [key for key in RULES if section.content.get(key) == AUTO]
    if not keys:
        return section
    model = {**defaults_of(locate(section.target, "model")), **section.content}
    seen = None if frames is None else [in_published_units(frame, spec) for frame in frames]
    found = {key: RULES[key](model, spec, seen) for key in keys}
    told = [
        f"{key}={'null' if choice.value is None else choice.value}{f' ({choice.reason})' if choice.reason else ''}"
        for key, choice in found.items()
    ]
    log.info("as the data allow: %s", ", ".join(told))
    return Section(content={**section.content, **{key: choice.value for key, choice in found.items()}})


def _magnetic(model: Plain, spec: "DataSpec", frames: Sequence[np.ndarray] | None) -> Choice:
    """Of `model.magnetic`."""
    from spacecast.data.physics import divergence_ratio
    from spacecast.nn.potential import plane_field

    def check() -> None:
        check_free(model, spec.state.names, plane_field(spec))

    if reason := refusal(check):
        return Choice("free", reason)
    facts = spec.state.names, spec.grid
    return _by_figure("potential", frames, lambda frame: divergence_ratio(frame, *facts), "div B is {} of |B| / dx")


def _electric(model: Plain, spec: "DataSpec", frames: Sequence[np.ndarray] | None) -> Choice:
    """Of `model.electric`."""
    from spacecast.data.physics import electric_ratio
    from spacecast.nn.laws import IdealField

    def check() -> None:
        check_free(model, spec.state.names, IdealField(spec).columns)

    if reason := refusal(check):
        return Choice("free", reason)
    names = spec.state.names
    return _by_figure("ideal", frames, lambda frame: _rms(electric_ratio(frame, names)), "E + v x B is {} of E")


def _state_law(model: Plain, spec: "DataSpec", frames: Sequence[np.ndarray] | None) -> Choice:
    """Of `model.state_law`."""
    from spacecast.data.physics import pressure_ratio
    from spacecast.nn.laws import GasLaw

    def check() -> None:
        check_free(model, (), ())
        GasLaw(spec)

    if reason := refusal(check):
        return Choice("free", reason)
    names = spec.state.names
    return _by_figure("forecasts", frames, lambda frame: _rms(pressure_ratio(frame, names)), "P - n k T is {} of P")


def _rms(figures: tuple[float, float] | None) -> float | None:
    """The second of the figures of a law; None: the data lack a variable."""
    return None if figures is None else figures[1]


def _by_figure(
    law: str, frames: Sequence[np.ndarray] | None, figure: Callable[[np.ndarray], float | None], what: str
) -> Choice:
    """The law where the worst of some frames obeys it, or where there are none yet."""
    if frames is None:
        return Choice(law)
    known = [ratio for ratio in map(figure, frames) if ratio is not None]
    if not known:
        return Choice("free", "no training frame to look at")
    worst = float(np.max(known))  # not a number where one is
    return Choice(law) if worst < SMALL else Choice("free", f"{what.format(f'{worst:.2g}')} (rms)")


def _inputs(model: Plain, spec: "DataSpec", _: object) -> Choice:
    """Of `model.inputs`."""
    from spacecast.nn.tendencies import conversion

    reason = refusal(lambda: conversion(spec))
    if not reason:
        return Choice("tendencies")
    default = defaults_of(locate(model["_target_"], "model")).get("inputs")
    return Choice(default if default in ("states", "increments") else "stencil", reason)


def _guard(model: Plain, spec: "DataSpec", _: object) -> Choice:
    """Of `model.guard`."""
    from spacecast.nn.constraints import training_range

    def check() -> None:
        check_free(model, (), ())
        training_range(spec, SHARE)

    reason = refusal(check)
    return Choice(None, reason) if reason else Choice(SHARE)


RULES: "dict[str, Callable[[Plain, DataSpec, Sequence[np.ndarray] | None], Choice]]" = {
    "inputs": _inputs,
    "magnetic": _magnetic,
    "electric": _electric,
    "state_law": _state_law,
    "guard": _guard,
}


def refusal(check: Callable[[], object]) -> str:
    """Why something cannot be, without the advice after the last semicolon; empty where it can."""
    try:
        check()
    except UserError as error:
        return str(error).rpartition(";")[0] or str(error)
    return ""


def check_free(model: Plain, names: Sequence[str], columns: Iterable[int]) -> None:
    """A variable that follows from others has no limit of its own, and no noise is added to what obeys a law.

    Raises:
        UserError: it has, or noise is added.

    """
    lower = model.get("lower")
    limits = {**(lower if isinstance(lower, Mapping) else {}), **(model.get("upper") or {})}
    if limited := [names[column] for column in columns if names[column] in limits]:
        raise UserError(f"{limited[0]} has a limit")
    if noise := model.get("observation_noise"):
        raise UserError(f"model.observation_noise={noise:g} would break it")


def in_published_units(frame: np.ndarray, spec: "DataSpec") -> np.ndarray:
    """A frame (node, state), each variable whose unit can be converted in that of the published data."""
    from spacecast.core.units import expected_units, factor

    pairs = zip(spec.state.names, spec.state.units, strict=True)
    wanted = [(units, expected_units(name) or units) for name, units in pairs]
    return frame.astype(np.float64) * [factor(*pair) or 1.0 for pair in wanted]


def training_frames(datastore: "Datastore") -> list[np.ndarray]:
    """The first, the middle and the last frame of a few training runs, shape (node, state) each."""
    runs, frames = datastore.train_runs, list[np.ndarray]()
    for place in np.unique(np.linspace(0, len(runs) - 1, MOST).astype(int)):
        count = datastore.num_frames(runs[place], "train")
        numbers = np.unique(np.linspace(0, count - 1, MOST).astype(int)) if count else ()
        frames += [datastore.read_state(runs[place], "train", int(start), int(start) + 1)[0] for start in numbers]
    return frames


def with_choices(model: Any, before: Any) -> Any:
    """A section `model` in plain types, `auto` in it replaced by what was found for a checkpoint or a run.

    Args:
        model: the section.
        before: that of the checkpoint or of the run; a key that it lacks had the default of the constructor. None, or
            anything else that is no section: `auto` stays.

    """
    auto = [key for key in RULES if isinstance(model, Mapping) and model.get(key) == AUTO]
    if not auto or not isinstance(before, Mapping):
        return model
    defaults = defaults_of(locate(model["_target_"], "model"))
    known = {key: before.get(key, defaults.get(key, AUTO)) for key in auto}
    return {**model, **known}


def as_recorded(plain: Plain) -> Plain:
    """A composed training that goes on in its run folder with what was found when it began."""
    recorded = recorded_config(Path(plain["paths"]["run_dir"]))
    result = {**plain, "model": with_choices(plain.get("model"), recorded.get("model"))}
    trainer, before = plain.get("trainer"), recorded.get("trainer")
    if isinstance(trainer, Mapping) and trainer.get(PRECISION) == AUTO and isinstance(before, Mapping):
        result["trainer"] = {**trainer, PRECISION: before.get(PRECISION, AUTO)}
    return result


def as_started(inputs: Inputs[Train], start: Start) -> Inputs[Train]:
    """The inputs of a training that goes on from a checkpoint or from its weights, with what was found for that."""
    file = start.checkpoint or start.weights
    if file is None:
        return inputs
    before = (inputs.opened[file]["spacecast"].get("config") or {}).get("model")
    return _with(inputs, "model", with_choices(inputs.plain["model"], before))


def settled(inputs: Inputs[Train], datastore: "Datastore") -> Inputs[Train]:
    """The inputs of a training without `auto`, recorded in its run folder."""
    from spacecast.training.precision import best_precision

    section, trainer = inputs.config.model, inputs.config.trainer
    if AUTO in (section.content.get(key) for key in RULES):
        section = decided(section, datastore.spec, training_frames(datastore))
    inputs = _with(inputs, "model", section.content)
    if trainer.precision != AUTO:
        return inputs
    return _with(inputs, "trainer", {**inputs.plain["trainer"], PRECISION: best_precision(trainer.accelerator)})


def _with(inputs: Inputs[Train], name: str, section: Mapping[str, Any]) -> Inputs[Train]:
    """Inputs with another section, which the run folder records."""
    if section == inputs.plain[name]:
        return inputs
    plain, run_dir = {**inputs.plain, name: dict(section)}, inputs.config.paths.run_dir
    if first_process() and not inputs.config.dry_run and (run_dir / CONFIG_FILE).is_file():
        write_config(plain, run_dir)
    return Inputs.of(plain, Train, inputs.opened)
