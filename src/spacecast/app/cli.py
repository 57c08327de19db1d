"""What the commands share: from the words on the command line to a run that ends with a clear exit code."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, NoReturn

import hydra
from hydra.core.utils import env_override
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

import spacecast
from spacecast.config.check import check_folder
from spacecast.config.command import Command, Inputs, Opened
from spacecast.config.complete import checked
from spacecast.config.compose import VERSION_BASE, compose, explain, start_logs
from spacecast.config.help import help_text
from spacecast.config.run import RunFolder, run_task
from spacecast.config.words import arranged_words, expanded, parse_words
from spacecast.core.errors import UserError
from spacecast.process.exit_codes import run_to_end
from spacecast.process.lock import locked
from spacecast.process.run_folder import CONFIG_FILE, discard_run, read_facts, write_config
from spacecast.process.signals import Interruption, first_process
from spacecast.process.status import FILE as STATUS_FILE


def run_command(command: Command, arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point of every console script; ends the process with an exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)

    def work() -> None:
        with Interruption().listening():  # until there is work to save, a signal ends it at once
            _dispatch(command, words)

    run_to_end(command.name, work)


def _dispatch(command: Command, words: Sequence[str]) -> None:
    """Help, Hydra's own requests, several runs, or one."""
    if not {"-h", "--help"}.isdisjoint(words):
        sys.stdout.write(_help(command, words))
        return
    if "--version" in words:
        sys.stdout.write(f"{command.name} {spacecast.__version__}\n")
        return
    flags, words = arranged_words(command, words)
    if flags.hydra_help or flags.cfg or flags.info or flags.shell_completion:
        if flags.multirun:  # Hydra takes one or the other: the first of the runs is shown
            rest = [word for word in words if word not in (*flags.overrides, "-m", "--multirun")]
            words = [*expanded(flags.overrides)[0], *rest]
        _ask_hydra(command, flags, words)
        return
    composed = partial(compose, flags.config_name or command.config, conf=flags.conf, user_conf=flags.user_conf)
    cfg = composed(expanded(flags.overrides)[0] if flags.multirun else flags.overrides)
    if flags.multirun or "_target_" in (cfg.get("launcher") or ()):
        from spacecast.sweep.creation import run_many

        run_many(command, flags.overrides, cfg, composed, flags.folders)
        return
    _refuse_sweep(cfg)
    command, inputs = command.gather(command, cfg) or (command, _one(command, cfg))
    if command.has_run_folder:
        check_folder(inputs.config.paths.run_dir, "paths.run_dir")
        command.check_folder(inputs)
        _run(command, cfg, inputs)
    else:
        run_task(command, lambda: inputs, partial(start_logs, cfg))


def _refuse_sweep(cfg: DictConfig) -> None:
    """Refuse a configuration that names the values of a sweep where one run is asked for.

    Raises:
        UserError: it does.

    """
    params = cfg.hydra.sweeper.get("params")
    if params:
        raise UserError(f"this is a sweep over {', '.join(map(str, params))}: add -m to do all of its runs")


def _one(command: Command, cfg: DictConfig) -> Inputs[Any]:
    """What a command works with, of one configuration."""
    opened: Opened = {}
    return Inputs.of(checked(command, cfg, opened), command.schema, opened)


def _run(command: Command, cfg: DictConfig, inputs: Inputs[Any]) -> Any:
    """One run in its folder; that of a run that never began is removed, one in use left alone."""
    run_dir, dry = inputs.config.paths.run_dir, bool(inputs.plain.get("dry_run"))
    run_dir.mkdir(parents=True, exist_ok=True)
    folder = RunFolder(run_dir, cfg.hydra.job.name, again=run_dir, status=not dry)
    with locked(run_dir) if first_process() else nullcontext():
        begun = (run_dir / CONFIG_FILE).is_file()  # by a run before, whose records stay
        records = first_process() and not (dry and read_facts(run_dir))
        if records:
            write_config(inputs.plain, run_dir)
        try:
            return run_task(command, lambda: inputs, partial(start_logs, cfg, run_dir), folder)
        except UserError:
            if records and not begun:
                discard_run(run_dir, STATUS_FILE)
            raise


def _help(command: Command, words: Sequence[str]) -> str:
    """Text of `--help` for the configuration that the other words choose."""
    flags = parse_words([word for word in words if word not in ("-h", "--help")])
    overrides = [word for word in flags.overrides if "=" in word]
    return help_text(command, compose(command.config, overrides, flags.conf, flags.user_conf), flags.folders)


def _ask_hydra(command: Command, flags: argparse.Namespace, words: Sequence[str]) -> None:
    """What Hydra alone can answer, such as `--cfg`; its errors come back as one line."""
    decorate = hydra.main(version_base=VERSION_BASE, config_path=str(flags.conf), config_name=command.config)
    before = sys.argv
    sys.argv = [before[0], *words]
    try:
        with env_override({"HYDRA_FULL_ERROR": "1"}):  # raised rather than printed
            decorate(lambda _: None)()
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, list) from error
    except SystemExit as error:
        if error.code not in (None, 0):
            raise
    finally:
        sys.argv = before
