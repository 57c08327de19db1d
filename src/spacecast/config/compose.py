"""From the command line to one configuration: where conf/ lies, Hydra's composition, its errors in one line."""

import os
import re
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import configure_log
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

import spacecast
from spacecast.config.targets import with_current_names
from spacecast.core.errors import UserError, nearest

VERSION_BASE = "1.3"
NOTHING = {"launcher": "local"}  # by group: the member that stands for nothing, where it is not called `none`

OmegaConf.register_new_resolver("cwd", lambda: str(Path.cwd()), replace=True)
OmegaConf.register_new_resolver("env", lambda name, other: os.environ.get(name, "").strip() or other, replace=True)
OmegaConf.register_new_resolver("unique", lambda: secrets.token_hex(2), use_cache=True, replace=True)


class UserFolder(SearchPathPlugin):
    """Lets Hydra search a user's own folder behind conf/, as its flag `--config-dir` does."""

    path: Path | None = None  # of the composition under way

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add the folder; Hydra calls this."""
        if self.path is not None:
            search_path.append("command-line", f"file://{self.path.resolve()}")


def conf_dir() -> Path:
    """The folder of the configuration: inside the package (wheel) or at the top of the repository (editable)."""
    package = Path(spacecast.__file__).resolve().parent
    for candidate in (package / "conf", package.parents[1] / "conf"):
        if (candidate / "train.yaml").is_file():
            return candidate
    raise UserError(f"the configuration folder conf/ of spacecast is missing beside {package}; install spacecast again")


def config_folders() -> list[Path]:
    """Configuration folders of the command at hand: conf/, and those that the user has added with `--config-dir`."""
    found = HydraConfig.get().runtime.config_sources if HydraConfig.initialized() else []
    return list(dict.fromkeys([conf_dir(), *(Path(source.path) for source in found if source.schema == "file")]))


def group_members(folders: Sequence[Path]) -> dict[str, list[str]]:
    """Members of each configuration group, groups nested with slashes, in folders that are searched in order."""
    groups: dict[str, set[str]] = {}
    for folder in folders:
        for file in folder.glob("*/**/*.yaml"):
            parts = file.relative_to(folder).with_suffix("").parts
            groups.setdefault(parts[0], set()).add("/".join(parts[1:]))
    return {group: sorted(members) for group, members in sorted(groups.items())}


def compose(config_name: str, overrides: Sequence[str], conf: Path, user_conf: Path | None = None) -> DictConfig:
    """Compose a configuration, its `hydra` node included, and make that node known to `${hydra:...}`.

    Args:
        config_name: root file in `conf` without its suffix, for example `train`.
        overrides: Hydra overrides, `key=value` or `group=member`.
        conf: folder of the configuration.
        user_conf: folder with a user's own groups (`--config-dir`).

    Raises:
        UserError: one line in place of whatever Hydra and OmegaConf say.

    """
    if user_conf is not None and not user_conf.is_dir():
        raise UserError(f"--config-dir: there is no folder {user_conf}")
    if user_conf is not None:
        make_importable(user_conf)
        Plugins.instance().register(UserFolder)
    UserFolder.path = user_conf
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf), job_name=config_name, version_base=VERSION_BASE):
            cfg = hydra_compose(config_name, overrides=list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        places = [conf] if user_conf is None else [conf, user_conf]
        raise explain(error, lambda: _known_names(config_name, overrides, conf, user_conf), places) from error
    finally:
        UserFolder.path = None
    return cfg


def make_importable(user_conf: Path) -> None:
    """Let `_target_` name modules in a user's configuration folder or beside it, here and in processes of its own.

    They come last, so that they stand in for no module of the same name.
    """
    places = [str(user_conf.resolve()), str(user_conf.resolve().parent)]
    sys.path += [place for place in places if place not in sys.path]
    inherited = list(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    added = [place for place in places if place not in inherited and os.pathsep not in place]
    os.environ["PYTHONPATH"] = os.pathsep.join([*inherited, *added])


def start_logs(cfg: DictConfig, run_dir: Path | None = None) -> None:
    """Log as `hydra.job_logging` of a composed configuration says, into a run folder where there is one."""
    if run_dir is not None:
        with read_write(cfg.hydra.runtime):
            cfg.hydra.runtime.output_dir = str(run_dir)
    configure_log(cfg.hydra.job_logging, cfg.hydra.verbose)


def job_part(cfg: DictConfig) -> DictConfig:
    """The composed configuration without its `hydra` node."""
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])


def typed_words(cfg: DictConfig) -> list[str]:
    """The words of the command line that a configuration was composed with, as they were typed."""
    return cast(list[str], OmegaConf.to_container(cfg.hydra.overrides.task))


def to_plain(cfg: DictConfig) -> dict[str, Any]:
    """Resolve everything into plain types, targets by their names of today.

    Raises:
        UserError: a mandatory value is missing, or an interpolation leads nowhere.

    """
    try:
        plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except (OmegaConfBaseException, ValueError) as error:
        raise explain(error, list) from error
    assert isinstance(plain, dict)
    return {str(key): with_current_names(value) for key, value in plain.items()}


def explain(error: Exception, known: Any, folders: Sequence[Path] = ()) -> UserError:
    """One line for an error of Hydra, OmegaConf or YAML.

    Args:
        error: what they raised.
        known: called without arguments for the valid keys and groups when a name is unknown.
        folders: of the configuration, where members of groups lie.

    """
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, member = error.missing_cfg_file.partition("/")
        options = group_members(folders).get(group) or error.options or []
        options = [*options, "null"] if options else []
        return UserError(f"group {group!r} has no member {member!r}; {nearest(member, options)}" if member else first)
    if isinstance(error, MissingMandatoryValue):
        key = _after(r"full_key: (\S+)", str(error)) or _after(r"value: (\S+)", str(error))
        return UserError(f"{key} has no value; give {key}=VALUE")
    if isinstance(error, OverrideParseException):
        return UserError(
            f"cannot read the override {error.override!r}; write key=value, quoted where the shell needs it"
        )
    if isinstance(error, yaml.MarkedYAMLError):
        return UserError(f"not valid YAML: {' '.join(str(error).split())}")
    if ambiguous := _after(r"Ambiguous value for argument '(.*)'$", first):
        key, _, value = ambiguous.partition("=")
        return UserError(f"{ambiguous}: several values; add -m to run each, or write {key}=[{value}] for a list")
    if there := _after(r"Could not append to config\. An item is already at '([^']*)'", first):
        return UserError(f"{there} is there already; leave the plus out: {there}=VALUE")
    unknown = _after(r"Could not override '([^']*)'", first) or _after(r"Could not delete.* '([^']*)' does", first)
    if unknown and isinstance(error, ConfigCompositionException):
        full = _after(r"full_key: (\S+)", str(error.__cause__))
        unknown = full if full.startswith(f"{unknown}.") else unknown
        names, groups, group = known(), group_members(folders), unknown.partition(".")[0]
        if group in groups and group in names and not any(key.startswith(f"{group}.") for key in names):
            return is_not_in_use(unknown, groups[group])
        return UserError(f"unknown key {unknown!r}; {nearest(unknown, _relatives(unknown, names))}")
    if "Config group override must be a string" in first:
        return UserError("a group is null that cannot be; leave it out, or choose a member of it: see --help")
    place = _after(r"full_key: (\S+)", str(error))
    return UserError(f"{place}: {first}" if place and place not in first else first)


def is_not_in_use(key: str, members: Sequence[str]) -> UserError:
    """The error of a key of a group of which no member is chosen."""
    group = key.partition(".")[0]
    options = [member for member in members if member not in ("none", NOTHING.get(group))]
    return UserError(f"{key}: there is no {group} in use; choose {group}={' or '.join(options)} as well")


def _after(pattern: str, text: str) -> str:
    """First group of a pattern, or nothing."""
    found = re.search(pattern, text)
    return found.group(1) if found else ""


def _relatives(unknown: str, known: Sequence[str]) -> list[str]:
    """Keys of the same section when the section exists, else all keys at the depth of the unknown one."""
    section = unknown.rpartition(".")[0]
    siblings = [key for key in known if section and key.rpartition(".")[0] == section]
    if siblings:
        return siblings
    top = [key for key in known if "." not in key]
    leaf = unknown.rpartition(".")[2]
    return top if "." not in unknown else [*top, *(key for key in known if key.endswith(f".{leaf}"))]


def _known_names(config_name: str, overrides: Sequence[str], conf: Path, user_conf: Path | None) -> list[str]:
    """Every key of the chosen members, of the defaults where the choice itself is wrong, and every group."""
    choices = [word for word in overrides if not set("./+~@") & set(word.partition("=")[0])]
    try:
        cfg = compose(config_name, choices if len(choices) < len(overrides) else [], conf, user_conf)
    except UserError:
        cfg = compose(config_name, [], conf, user_conf)
    groups = [str(group) for group in cfg.hydra.runtime.choices if "/" not in str(group)]
    unresolved = cast(dict[str, Any], OmegaConf.to_container(job_part(cfg)))
    return list(dict.fromkeys([*flat_keys(unresolved), *groups]))


def flat_keys(section: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """All keys of a configuration with dots, sections included."""
    for key, value in section.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flat_keys(value, f"{prefix}{key}.")
