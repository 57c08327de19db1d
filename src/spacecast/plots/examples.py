"""Pictures of example forecasts that `evaluate` wrote."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spacecast.core.errors import UserError
from spacecast.core.spec import DataSpec
from spacecast.plots.maps import draw_ensemble, draw_maps


def draw_examples(
    store: str | Path,
    spec: DataSpec,
    folder: str | Path,
    *,
    leads: Sequence[int] | None = None,
    variables: Sequence[str] | None = None,
) -> list[Path]:
    """Draw truth, forecast and error of every example, and for ensembles truth, mean and spread.

    Args:
        store: examples.zarr.
        spec: grid, boundary and variables.
        folder: where the pictures go: `example_<number>_lead_<number>.png` and `..._ensemble.png`.
        leads: numbers of the leads, 1 is the first; None: the last.
        variables: which to draw; None: all.

    Returns:
        The paths, in order.

    """
    import xarray as xr

    paths = []
    with xr.open_zarr(store, chunks=None) as data:
        for lead in [data.sizes["lead_time"]] if leads is None else leads:
            if not 1 <= lead <= data.sizes["lead_time"]:
                raise UserError(f"lead {lead} is not in {store}: it holds leads 1 to {data.sizes['lead_time']}")
            for number in range(data.sizes["example"]):
                frame = data.isel(example=number, lead_time=lead - 1)
                members, truth = _nodes(frame, spec, ""), _nodes(frame, spec, "_truth")
                start = np.datetime_as_string(frame.init_time.values, unit="s").replace("T", " ")
                title = f"{start} + {float(frame.lead_time):g} s"
                path = Path(folder) / f"example_{number}_lead_{lead}.png"
                mean = members.mean(axis=0) if "member" in data.sizes else members
                paths.append(draw_maps(spec, truth, mean, path, variables=variables, title=title))
                if "member" in data.sizes:
                    path = path.with_stem(f"{path.stem}_ensemble")
                    paths.append(draw_ensemble(spec, truth, members, path, variables=variables, title=title))
    return paths


def _nodes(frame: "object", spec: DataSpec, suffix: str) -> np.ndarray:
    """All variables of a frame on the nodes, shape (..., node, state)."""
    fields = [frame[f"{name}{suffix}"].values for name in spec.state.names]  # type: ignore[index]
    return np.stack([spec.grid.to_nodes(field) for field in fields], axis=-1)
