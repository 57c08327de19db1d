"""Where a forecast is written, and what its file says of where it comes from."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from hydra.core.hydra_config import HydraConfig

from spacecast.config.check import check_folder
from spacecast.config.schema import Forecast
from spacecast.core.errors import UserError
from spacecast.core.text import as_typed, several

if TYPE_CHECKING:
    from spacecast.forecast.starts import Start

Format = Literal["zarr", "netcdf"]
SUFFIXES: dict[Format, str] = {"zarr": ".zarr", "netcdf": ".nc"}


def file_format(config: Forecast) -> Format:
    """As it is typed, or as the output is called."""
    netcdf = config.output is not None and config.output.suffix == SUFFIXES["netcdf"]
    return config.format or ("netcdf" if netcdf else "zarr")


def check_output(config: Forecast) -> None:
    """Refuse an output that cannot be written, before anything is opened.

    Raises:
        UserError: its name is not that of a file of this format, something else is there, or nothing can be written.

    """
    from spacecast.forecast.place import identity_of

    output = config.output
    if output is None:
        check_folder(config.paths.run_dir, "paths.run_dir")
        return
    suffix = SUFFIXES[file_format(config)]
    if output.suffix != suffix:
        way = f"format={config.format} is written to NAME{suffix}" if config.format else "give NAME.zarr or NAME.nc"
        raise UserError(f"output={output}: {way}")
    if output.exists() and identity_of(output) is None:
        raise UserError(f"output={output} is there and no forecast of this command; give another output")
    if not output.parent.is_dir() and output.parent.exists():
        raise UserError(f"output={output}: {output.parent} is no folder; give another output")
    check_folder(output.parent, "output")


def default_output(config: Forecast, start: "Start", trained_in: str = "") -> Path:
    """The place of a forecast without a name: that of the model, its run and its first initial time."""
    time = np.datetime_as_string(start.time, unit="s").translate({ord("-"): None, ord(":"): None})
    model = model_name(config.checkpoint, trained_in)
    return config.paths.run_dir / f"{model}_{start.run}_{time}{SUFFIXES[file_format(config)]}"


def in_words(starts: Sequence["Start"], steps: int, members: int, step_seconds: float) -> str:
    """What is forecast, on one line: run and initial times, steps and members, as chosen where they are not given."""
    times = [np.datetime_as_string(time, unit="auto") for time in sorted(start.time for start in starts)]
    begin = times[0] if len(times) == 1 else f"{len(times)} initial times, {times[0]} to {times[-1]}"
    runs = ", ".join(dict.fromkeys(start.run for start in starts))
    ensemble = f", {members} members" if members > 1 else ""
    return f"run {runs} from {begin}, {several(steps, 'step')} of {step_seconds:g} s{ensemble}"


def model_name(checkpoint: Path, trained_in: str = "") -> str:
    """What a model is called: as the folder of its run or its own, unless its file has a name that tells more.

    Args:
        checkpoint: its file. One among the artifacts of MLflow, a registered model, lies in a folder named by a check
            sum, which tells nothing.
        trained_in: the run folder of its training, as the checkpoint has it; of a registered model its name is taken.

    """
    from spacecast.checkpoint.content import NAMES

    folder = checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
    if checkpoint.parent.parent.name == "checkpoints" and trained_in:
        return Path(trained_in).name
    return folder.name if checkpoint.name in {Path(name).name for name in NAMES} else checkpoint.stem


def provenance(config: Forecast, model: Mapping[str, Any], command: str) -> dict[str, str]:
    """Where a forecast comes from, as attributes of its file; the user's home, and so the name, is left out.

    Args:
        config: of the command.
        model: attributes of the trained model.
        command: name of the console script.

    """
    with config.checkpoint.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    words = [word.lstrip("+") for word in HydraConfig.get().overrides.task] if HydraConfig.initialized() else []
    typed = as_typed(command, *words)
    found = {**model, "checkpoint": config.checkpoint, "checkpoint_sha256": digest, "history": f"written by: {typed}"}
    home = str(Path.home())
    texts = {name: str(value) for name, value in found.items()}
    return texts if home == "/" else {name: text.replace(home, "~") for name, text in texts.items()}
