"""What is in a data folder, and whether it can be trained on; reads a bounded number of frames."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from spacecast.core.errors import UserError
from spacecast.core.protocols import Datastore
from spacecast.core.units import expected_units, factor
from spacecast.data.configs import find_runs, prepared_path
from spacecast.data.consistency import check_consistent
from spacecast.data.datastore import RunDatastore
from spacecast.data.physics import divergence_ratio, electric_ratio, pressure_ratio
from spacecast.data.report import Finding, Inspected, Report, RunView
from spacecast.data.splits import SPLITS
from spacecast.data.statistics import Moments, check_scales
from spacecast.data.store import RunStore
from spacecast.process.progress import ProgressCallback
from spacecast.storage.folder import require_folder


@dataclass
class _Sample:
    """What the sampled frames of one run show."""

    values: Moments = field(default_factory=Moments)
    change: Moments = field(default_factory=Moments)
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    broken: np.ndarray | None = None
    divergence: list[float] = field(default_factory=list)
    pressure: list[tuple[float, float]] = field(default_factory=list)
    electric: list[tuple[float, float]] = field(default_factory=list)


def inspect(
    source: str | Path | Datastore,
    runs: Sequence[int | str] | None = None,
    *,
    frames: int = 12,
    progress: ProgressCallback | None = None,
) -> Report:
    """Describe prepared runs and look for faults.

    Args:
        source: a data folder, or an open datastore, of any kind.
        runs: names of runs; None takes all of the folder or datastore.
        frames: frames to read per run, in pairs spread evenly over the run. Chunks are counted in all frames.
        progress: called with (run, frames read, frames to read).

    Returns:
        A report; `report.ok` says whether the data can be trained on.

    Raises:
        UserError: when there is no run to inspect.

    """
    report = Report()
    if isinstance(source, str | Path | RunDatastore):
        root = source.root if isinstance(source, RunDatastore) else Path(source)
        require_folder(root, write=False)
        everything = source.runs if isinstance(source, RunDatastore) else find_runs(root)
        names = [str(run) for run in (everything if runs is None else runs)]
        if not names:
            raise UserError(f"{root} holds no prepared run vlasiator_run_<number>.zarr; run spacecast-data prepare")
        report.gather(names, lambda name: RunStore(prepared_path(root, name), name))
    else:
        datastore = source
        names = [*datastore.train_runs, *datastore.holdout_runs] if runs is None else list(map(str, runs))
        report.gather(names, lambda name: RunView(datastore, name))
    if not report.stores:
        return report
    samples = {name: _sample(store, frames, progress) for name, store in report.stores.items()}
    for name, store in report.stores.items():
        report.findings += [Finding(kind, f"{store.label}: {text}") for kind, text in _judge(store, samples[name])]
    _judge_together(report, samples)
    _describe(report, samples)
    return report


def _sample(store: Inspected, frames: int, progress: ProgressCallback | None) -> _Sample:
    """Read pairs of neighbouring frames."""
    sample, names = _Sample(), store.names["state"]
    pairs = max(1, min(frames // 2, store.num_frames // 2))
    starts = np.unique(np.linspace(0, store.num_frames - 2, pairs).astype(int))
    for number, start in enumerate(starts):
        try:
            pair = store.read("state", int(start), int(start) + 2, check=False).astype(np.float64)
        except UserError:
            sample.broken = np.full(len(names), -1)
            return sample
        bad = ~np.isfinite(pair)
        sample.broken = bad.sum(axis=(0, 1)) + (0 if sample.broken is None else sample.broken)
        whole = ~bad.any(axis=(0, 2))
        if whole.any():
            good = pair[:, whole]
            sample.values.update(good)
            sample.change.update(good[1] - good[0])
            low, high = good.min(axis=(0, 1)), good.max(axis=(0, 1))
            sample.low = low if sample.low is None else np.minimum(sample.low, low)
            sample.high = high if sample.high is None else np.maximum(sample.high, high)
        if not bad.any():
            _measure(sample, pair[0], names, store)
        if progress is not None:
            progress(store.label, 2 * (number + 1), 2 * len(starts))
    return sample


def _measure(sample: _Sample, state: np.ndarray, names: Sequence[str], store: Inspected) -> None:
    """Physical residuals of one frame."""
    divergence = divergence_ratio(state, names, store.grid)
    if divergence is not None:
        sample.divergence.append(divergence)
    if (found := pressure_ratio(state, names)) is not None:
        sample.pressure.append(found)
    if (found := electric_ratio(state, names)) is not None:
        sample.electric.append(found)


def _judge(store: Inspected, sample: _Sample) -> Iterator[tuple[str, str]]:
    """Severity and text of the findings about one run."""
    names = store.names["state"]
    if sample.broken is not None and (sample.broken < 0).any():
        yield "error", "a sampled frame cannot be decoded; prepare or download it again"
        return
    for name, count in zip(names, sample.broken if sample.broken is not None else (), strict=False):
        if count:
            where = f"at {count} nodes of the sampled frames"
            yield "error", f"{name} is NaN or infinite {where}; correct the raw data or the mask"
    if sample.values.count:
        spread, moved = sample.values.std, np.sqrt(sample.change.mean**2 + sample.change.std**2)
        flat = ~(spread > 1e-6 * np.abs(sample.values.mean))
        if flat.any():
            yield "warning", f"constant everywhere: {', '.join(np.asarray(names)[flat])}"
        frozen = ~flat & ~(moved > 1e-9 * spread)
        if frozen.any() and (frozen | flat).all():
            yield "error", "no variable changes in time; there is nothing to learn from"
        elif frozen.any():
            yield "warning", f"constant in time: {', '.join(np.asarray(names)[frozen])}"
    for split, needed, severity in (("train", 3, "error"), ("val", 3, "warning"), ("test", 3, "warning")):
        found = np.ptp(store.splits[split]) if split in store.splits else 0
        if found < needed:
            need = f"a forecast of one step needs {needed}"
            yield severity, f"split {split!r} has {found} frames, {need}; enlarge it in the YAML"
    if (frames := store.frames_per_chunk("state")) > 16:
        yield "warning", f"{frames} frames per chunk make reading slow; prepare with chunking: {{time: 1}}"
    for name, unit in zip(names, store.units["state"], strict=True):
        expected = expected_units(name)
        if expected and factor(unit, expected) != 1:
            yield "warning", f"{name} has units {unit!r}, the published data have {expected!r}"
    yield from _judge_statics(store)
    yield from _judge_physics(sample)


def _judge_statics(store: Inspected) -> Iterator[tuple[str, str]]:
    """Static features that are coordinates by name must be those of the grid."""
    truth = {**dict(zip(store.grid.axes, store.grid.positions.T, strict=True)), "r": store.grid.radius}
    for i, name in enumerate(store.names["static"]):
        known = truth.get(name.split("_")[0])
        if known is not None and not np.allclose(store.static_values[:, i], known, atol=1e-3 * np.abs(known).max()):
            fault = f"static feature {name!r} is not the {name[0]} of the cells"
            yield "error", f"{fault}; axes of static.zarr are swapped or shifted"


def _judge_physics(sample: _Sample) -> Iterator[tuple[str, str]]:
    """Residuals of div B, P - n k T and E + v x B."""
    if sample.divergence and max(sample.divergence) > 0.05:
        yield "warning", f"div B is {max(sample.divergence):.2g} of |B| / dx (rms); axes x and z may be swapped"
    for what, values in (("P over n k T", sample.pressure), ("|E| over |v x B|", sample.electric)):
        if not values:
            continue
        ratio, residual = (float(v) for v in np.median(np.asarray(values), axis=0))
        if not 1 / 30 < ratio < 30:
            fault = f"{what} is {ratio:.3g} (median), expected about 1"
            yield "error", f"{fault}; units of one of them are wrong, convert the raw data"
        elif residual > 0.3:
            yield "warning", f"{what} is {ratio:.3g} (median) with a residual of {residual:.0%}"


def _judge_together(report: Report, samples: dict[str, _Sample]) -> None:
    """Findings about the runs as a set."""
    stores = list(report.stores.values())
    try:
        if prepared := [store for store in stores if isinstance(store, RunStore)]:
            check_consistent(prepared)
        rms = {name: np.sqrt(s.values.mean**2 + s.values.std**2) for name, s in samples.items() if s.values.count}
        check_scales(rms, stores[0].names["state"])
    except UserError as error:
        report.findings.append(Finding("error", str(error)))


def _describe(report: Report, samples: dict[str, _Sample]) -> None:
    """Text lines: plane, runs, variables."""
    first = next(iter(report.stores.values()))
    lines = report.lines
    cells = " x ".join(f"{size:.4g}" for size in first.grid.spacing)
    earth = first.grid.valid.size - first.grid.num_nodes
    nodes = f"{first.grid.num_nodes} nodes, {earth} cells cut out"
    lines.append(f"plane      {first.grid}; cells {cells} R_E, {nodes}")
    lines.append(f"static     {', '.join(first.names['static']) or 'none'}")
    lines.append(f"forcing    {', '.join(first.names.get('forcing', ())) or 'none'}")
    lines.append("")
    lines.append(
        f"{'run':<8}{'frames':>7}{'step s':>8}  "
        f"{'train / val / test':<22}{'start':<21}{'div B':>9}{'P-nkT':>9}{'E+vxB':>9}"
    )
    for name, store in report.stores.items():
        sizes = " / ".join(str(np.ptp(store.splits[s])) if s in store.splits else "-" for s in SPLITS)
        sample = samples[name]
        residuals = (sample.divergence, [r for _, r in sample.pressure], [r for _, r in sample.electric])
        start = str(store.times[0].astype("datetime64[s]"))
        lines.append(
            f"{name:<8}{store.num_frames:>7}{store.step_seconds:>8g}  "
            f"{sizes:<22}{start:<21}{''.join(f'{_mean(each):>9}' for each in residuals)}"
        )
    for name, store in report.stores.items():
        sample = samples[name]
        if sample.low is None or sample.high is None or sample.broken is None:
            continue
        lines += ["", f"run {name}, {sample.values.count // first.grid.num_nodes} sampled frames"]
        lines.append(
            f"{'variable':<10}{'units':<8}{'min':>11}{'max':>11}{'mean':>11}{'std':>11}{'step rms':>11}{'NaN':>6}"
        )
        step = np.sqrt(sample.change.mean**2 + sample.change.std**2)
        for i, variable in enumerate(store.names["state"]):
            row = (sample.low[i], sample.high[i], sample.values.mean[i], sample.values.std[i], step[i])
            numbers = "".join(f"{value:>11.4g}" for value in row)
            lines.append(f"{variable:<10}{store.units['state'][i]:<8}{numbers}{sample.broken[i]:>6}")


def _mean(values: Sequence[float]) -> str:
    """Mean of residuals in short form."""
    return f"{np.mean(values):.1e}" if len(values) else "-"
