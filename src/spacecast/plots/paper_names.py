"""Which folders the published figures are drawn from, as a YAML file names them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from spacecast.core.errors import UserError, nearest

Family = Mapping[str, Mapping[str, str]]  # folder by line style and colour, such as Graph-FM and simple
TRUTH = "truth"


@dataclass(frozen=True)
class PaperNames:
    """Folders by what they hold; a figure whose section is empty is not drawn.

    Args:
        variables: columns of published tables in order, with their units.
        step_seconds: from one row of a published table to the next [s].
        example: name of the store of an example in a folder of forecasts.
        grid: scores of models.
        divergence: models by the weight of their penalty of div B; `truth` names the folder of the truth's own.
        crps: models before and after training with CRPS.
        members: one model by the size of its ensemble.
        steps: one model by its time step [s].
        forecasts: forecasts that are drawn as maps.
        spectra: for each figure, forecasts by model.
        few: variables of the figures that show some.
        map_seconds: lead of the maps [s].
        spectra_seconds: leads of the spectra [s].

    """

    variables: Mapping[str, str]
    step_seconds: float
    example: str
    grid: Family
    divergence: Family
    divergence_truth: str | None
    crps: Family
    members: Mapping[int, str]
    steps: Mapping[float, str]
    forecasts: Mapping[str, str]
    spectra: Family
    few: tuple[str, ...]
    map_seconds: float
    spectra_seconds: tuple[float, ...]


def read_names(content: Mapping[str, Any], defaults: Mapping[str, Any], label: str) -> PaperNames:
    """Check what a YAML file says.

    Args:
        content: of the file; what it leaves out of the settings is taken from `defaults`, a section of folders that it
            leaves out is empty.
        defaults: the same of the published folders.
        label: the file, for errors.

    Raises:
        UserError: an unknown key, or a value of another form.

    """
    if not isinstance(content, Mapping):
        raise UserError(f"{label}: expected sections such as grid, found {content!r}")
    known = [each.name for each in fields(PaperNames) if each.name != "divergence_truth"]
    for key in content:
        if key not in known:
            raise UserError(f"{label}: unknown key {key!r}; {nearest(str(key), known)}")
    settings = {
        key: defaults[key] for key in ("variables", "step_seconds", "example", "few", "map_seconds", "spectra_seconds")
    }
    told = {**settings, **content}
    divergence = dict(_mapping(told.get("divergence"), f"{label}: divergence"))
    truth = divergence.pop(TRUTH, None)
    variables = {str(name): str(unit) for name, unit in _mapping(told["variables"], f"{label}: variables").items()}
    few = tuple(_texts(told["few"], f"{label}: few"))
    for name in few:
        if name not in variables:
            raise UserError(f"{label}: few names {name!r}; {nearest(name, variables)}")
    seconds = told["spectra_seconds"]
    return PaperNames(
        variables=variables,
        step_seconds=_positive(told["step_seconds"], f"{label}: step_seconds"),
        example=_folder(told["example"], f"{label}: example"),
        grid=_family(told.get("grid"), f"{label}: grid"),
        divergence=_family(divergence, f"{label}: divergence"),
        divergence_truth=None if truth is None else _folder(truth, f"{label}: divergence.truth"),
        crps=_family(told.get("crps"), f"{label}: crps"),
        members={
            int(size): folder
            for size, folder in _numbered(told.get("members"), f"{label}: members", whole=True).items()
        },
        steps=_numbered(told.get("steps"), f"{label}: steps"),
        forecasts=_folders(told.get("forecasts"), f"{label}: forecasts"),
        spectra=_family(told.get("spectra"), f"{label}: spectra"),
        few=few,
        map_seconds=_positive(told["map_seconds"], f"{label}: map_seconds"),
        spectra_seconds=tuple(
            _positive(each, f"{label}: spectra_seconds")
            for each in (seconds if isinstance(seconds, list) else [seconds])
        ),
    )


def _mapping(value: Any, where: str) -> Mapping[Any, Any]:
    """A mapping; nothing is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: expected names with folders, found {value!r}")
    return value


def _folders(value: Any, where: str) -> dict[str, str]:
    """Folders by name."""
    return {str(name): _folder(each, f"{where}.{name}") for name, each in _mapping(value, where).items()}


def _family(value: Any, where: str) -> dict[str, dict[str, str]]:
    """Folders by two names."""
    return {str(name): _folders(each, f"{where}.{name}") for name, each in _mapping(value, where).items()}


def _numbered(value: Any, where: str, *, whole: bool = False) -> dict[float, str]:
    """Folders by a positive number, ascending."""
    found: dict[float, str] = {}
    for name, each in _mapping(value, where).items():
        number = _positive(name, where)
        if whole and (number != int(number) or number < 2):
            raise UserError(f"{where}: an ensemble of {name} members; give 2 or more")
        found[number] = _folder(each, f"{where}.{name}")
    return dict(sorted(found.items()))


def _folder(value: Any, where: str) -> str:
    """The name of a folder."""
    if not isinstance(value, str | int) or isinstance(value, bool) or not str(value).strip():
        raise UserError(f"{where}: expected the name of a folder, found {value!r}")
    return str(value)


def _texts(value: Any, where: str) -> list[str]:
    """A list of names."""
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise UserError(f"{where}: expected a list of names, found {value!r}")
    return list(value)


def _positive(value: Any, where: str) -> float:
    """A positive number, also one that YAML holds as text."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if isinstance(value, bool) or not 0 < number < float("inf"):
        raise UserError(f"{where}: expected a positive number, found {value!r}")
    return number
