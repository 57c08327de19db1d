"""`spacecast-data download`: published data and models, and what to type next."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from spacecast.config.command import Inputs
from spacecast.config.schema import Data
from spacecast.core.errors import UserError, nearest
from spacecast.core.text import as_typed, as_words

log = logging.getLogger(__name__)

PUBLISHED = {name: f"deinal/{name}" for name in ("spacecast-data", "spacecast-data-small", "spacecast-models")}
NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
CHOICES = f"{', '.join(PUBLISHED)} or OWNER/NAME"


def download(inputs: Inputs[Data]) -> None:
    """Fetch a published data set or model, check it, and say what to type next.

    Raises:
        UserError: it is not known what to fetch, or it cannot be fetched.

    """
    from spacecast.data.download import download as fetch
    from spacecast.process.progress import ProgressBar

    name, folder = _what(inputs)
    config = inputs.config
    only = as_words(config.only or ())
    with ProgressBar("fetching") as progress:
        repository = fetch(
            name, folder, revision=config.revision, only=only, overwrite=config.overwrite, progress=progress
        )
    log.info("%s of %s in %s", repository.revision, name, folder)
    for line in next_commands([file.path for file in repository.files if (folder / file.path).exists()], folder):
        log.info("  %s", line)


def _what(inputs: Inputs[Data]) -> tuple[str, Path]:
    """The repository and the folder that it goes to.

    Raises:
        UserError: neither a name nor data that are published somewhere were given.

    """
    from spacecast.app.assemble import reads_runs

    config, section = inputs.config, inputs.config.datastore
    if config.name is not None:
        return _repository(config.name), config.output or config.paths.data_dir / config.name.rpartition("/")[2]
    if config.simulation is not None:
        raise UserError(f"these data are simulated (spacecast-data simulate); for published ones give name={CHOICES}")
    if not reads_runs(section):
        raise UserError(f"{section.target} reads no folder of runs; give name={CHOICES}")
    if not section.repository:
        member = HydraConfig.get().runtime.choices["datastore"]
        raise UserError(f"datastore={member} does not say where it is published; give name=OWNER/NAME, as on the hub")
    return _repository(section.repository), config.output or Path(str(section.root))


def _repository(name: str) -> str:
    """OWNER/NAME.

    Raises:
        UserError: it is no such name.

    """
    if name in PUBLISHED:
        return PUBLISHED[name]
    if not NAME.fullmatch(name) or ".." in name:
        raise UserError(f"there is no name={name}; {nearest(name, [*PUBLISHED, 'OWNER/NAME'])}")
    return name


def next_commands(paths: Sequence[str], folder: Path) -> list[str]:
    """What can be done with the files in a folder; nothing where they are not known.

    Args:
        paths: of the files, below the folder.
        folder: where they are.

    """
    tops = {path.partition("/")[0] for path in paths}
    if {"model.safetensors", "config.json", "SHA256SUMS"} <= tops:
        return [as_typed("spacecast-forecast", f"checkpoint={folder}", "datastore.root=DIR")]
    if checkpoints := sorted(path for path in tops if path.endswith(".ckpt")):
        kind = re.sub(r".*_(simple|multiscale|hierarchical)\.ckpt$", r"\1", checkpoints[0])
        graph = f"graph.path=DIR/graph/{kind if '.' not in kind else 'NAME'}"
        words = (
            f"checkpoint={folder / checkpoints[0]}",
            "datastore=vlasiator",
            "datastore.root=DIR",
            "graph=stored",
            graph,
        )
        return [as_typed("spacecast-forecast", *words)]
    runs = {"vlasiator": r"(vlasiator_)?run_\d+\.(zarr|yaml)", "vlasiator_small": r"(vlasiator_)?run\.(zarr|yaml)"}
    for member, pattern in runs.items():
        if any(re.fullmatch(pattern, top) for top in tops):
            return [as_typed("spacecast-data", "inspect", f"datastore={member}", f"datastore.root={folder}")]
    return []
