"""Maps of example forecasts: pictures of a scored run."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spacecast.core.spec import DataSpec
from spacecast.plots.canvas import ScoredRun
from spacecast.plots.maps import draw_comparison

if TYPE_CHECKING:
    from xarray import Dataset


def draw_examples(run: ScoredRun, path: Path) -> list[Path]:
    """Draw truth, forecast and error of every example at the last lead, and for ensembles truth, mean and spread.

    Args:
        run: scored, with examples.
        path: beside which the pictures go: `example_<number>_lead_<number>.png` and `..._ensemble.png`.

    Returns:
        The paths, in order.

    """
    import xarray as xr

    if run.examples is None:
        return []
    paths = []
    with xr.open_zarr(run.examples, chunks=None) as data:
        lead = data.sizes["lead_time"]
        for number in range(data.sizes["example"]):
            frame = data.isel(example=number, lead_time=lead - 1)
            forecast, truth = _nodes(frame, run.spec, ""), _nodes(frame, run.spec, "_truth")
            members = forecast if "member" in data.sizes else forecast[None]
            mean = members.mean(axis=0)
            start = np.datetime_as_string(frame.init_time.values, unit="s").replace("T", " ")
            title = f"{start} + {float(frame.lead_time):g} s"
            picture = path.with_name(f"example_{number}_lead_{lead}.png")
            fields = {"truth": truth, "forecast": mean, "error": mean - truth}
            paths.append(draw_comparison(run.spec, fields, picture, title=title))
            if len(members) > 1:
                fields = {"truth": truth, "ensemble mean": mean, "spread": members.std(axis=0, ddof=1)}
                picture = picture.with_stem(f"{picture.stem}_ensemble")
                paths.append(draw_comparison(run.spec, fields, picture, title=title))
    return paths


def _nodes(frame: "Dataset", spec: DataSpec, suffix: str) -> np.ndarray:
    """All variables of a frame on the nodes, shape (..., node, state)."""
    fields = [frame[f"{name}{suffix}"].values for name in spec.state.names]
    return np.stack([spec.grid.to_nodes(field) for field in fields], axis=-1)
