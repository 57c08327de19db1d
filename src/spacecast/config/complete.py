"""From a composed configuration to the one that is recorded: whole, checked, with absolute paths."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args, get_type_hints

from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from spacecast.config.check import check_config
from spacecast.config.choices import explain_setting
from spacecast.config.command import Command, Opened, Plain
from spacecast.config.compose import (
    config_folders,
    explain,
    group_members,
    is_not_in_use,
    job_part,
    to_plain,
    typed_words,
)
from spacecast.config.paths import absolute_path, absolute_paths
from spacecast.config.schema import section_kind
from spacecast.core.errors import UnknownKeyError, UserError
from spacecast.core.names import typed_keys


def checked(command: Command, cfg: DictConfig, opened: Opened, run_dir: Path | None = None) -> Plain:
    """The configuration of a run as it is recorded.

    Args:
        command: whose run.
        cfg: what `compose` has composed last.
        opened: receives what is read of files.
        run_dir: folder of the run; None: as the configuration says.

    Raises:
        UserError: a mistake in it.

    """
    plain, typed = completed(command, cfg, opened, run_dir), typed_words(cfg)
    plain = without_settings_of_nothing(plain, command.schema, typed)
    try:
        check_config(plain, command.schema)
    except UnknownKeyError as error:
        raise explain_setting(error, plain, typed) from error
    return absolute_paths(plain, command.schema)


def completed(command: Command, cfg: DictConfig, opened: Opened, run_dir: Path | None = None) -> Plain:
    """The whole configuration of a run in plain types, its run folder where `hydra.run.dir` says or as given."""
    if cfg.hydra.job.chdir:
        raise UserError(
            "hydra.job.chdir=true: a run stays in the folder where it was started, and writes to paths.run_dir; "
            "leave hydra.job.chdir out"
        )
    try:
        job = job_part(cfg)
        if isinstance(job.get("paths"), DictConfig):
            with open_dict(job):
                if command.has_run_folder:
                    job.paths.run_dir = cfg.hydra.run.dir if run_dir is None else str(run_dir)
                for name, folder in job.paths.items():  # now, for others are made of them
                    if folder is not None:
                        job.paths[name] = absolute_path(folder, f"paths.{name}")
    except UserError:
        raise
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise explain(error, list) from error
    typed = typed_words(cfg)
    plain = command.complete(to_plain(job), typed, opened)
    agree_on_devices(plain, typed)
    return plain


def without_settings_of_nothing(plain: Plain, schema: type, typed: Sequence[str]) -> Plain:
    """A configuration in which sections that no member was chosen for are null, whatever files set in them.

    Raises:
        UserError: a key of such a section was typed.

    """
    settled = dict(plain)
    for name, annotation in get_type_hints(schema).items():
        section = plain.get(name)
        optional = section_kind(annotation) and type(None) in get_args(annotation)
        if not optional or not isinstance(section, Mapping) or "_target_" in section:
            continue
        if key := next((key for key in typed_keys(typed) if key.startswith(f"{name}.")), ""):
            raise is_not_in_use(key, group_members(config_folders())[name])
        settled[name] = None
    return settled


def agree_on_devices(plain: Plain, typed: Sequence[str]) -> None:
    """Make `trainer.num_nodes` and `trainer.devices` agree with the launcher, whichever of the two was given.

    Raises:
        UserError: both were given and differ, or the launcher cannot know how many devices to ask for.

    """
    launcher = plain.get("launcher")
    if not launcher or "gpus_per_node" not in launcher:
        return
    trainer = plain["trainer"]
    for key, follower in (("nodes", "num_nodes"), ("gpus_per_node", "devices")):
        if launcher.get(key) is None:
            continue
        if f"trainer.{follower}" in typed_keys(typed) and trainer[follower] != launcher[key]:
            pair = f"launcher.{key}={launcher[key]} and trainer.{follower}={trainer[follower]}"
            raise UserError(f"{pair} contradict each other; give one of them, the other follows")
        trainer[follower] = launcher[key]
    launcher["nodes"] = trainer["num_nodes"]
    devices, accelerator = trainer["devices"], trainer["accelerator"]
    if isinstance(devices, bool) or not isinstance(devices, int) or devices < 1:
        raise UserError(f"trainer.devices={devices}: a scheduler needs a number; give launcher.gpus_per_node=N")
    if launcher["gpus_per_node"] is not None:
        if accelerator == "cpu":
            gpus = f"launcher.gpus_per_node={launcher['gpus_per_node']}"
            raise UserError(f"{gpus} would idle with trainer.accelerator=cpu; leave it out, or choose trainer=gpu")
        trainer["accelerator"] = "gpu" if accelerator == "auto" else accelerator
    elif accelerator in ("gpu", "cuda"):
        launcher["gpus_per_node"] = devices
