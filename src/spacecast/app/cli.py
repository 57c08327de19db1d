"""What the commands share: from the words on the command line to a run that ends with a clear exit code.

Exit codes: 0 done, 1 an error inside spacecast (traceback in the log of the run), 2 a mistake of the user (one line),
75 a signal ended it and the same command goes on from there, 130 ended at once from the keyboard.
"""

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

import spacecast
from spacecast.config.check import check_config, check_folder
from spacecast.config.choices import explain_setting, without_settings_of_nothing
from spacecast.config.command import Command, Plain
from spacecast.config.compose import VERSION_BASE, compose, explain, job_part, to_plain
from spacecast.config.help import help_text
from spacecast.config.paths import absolute_path, absolute_paths
from spacecast.config.words import arranged_words, conf_of, parse_words, user_conf_of
from spacecast.core.errors import UnknownKeyError, UserError
from spacecast.process.lock import locked
from spacecast.process.run_folder import CONFIG_FILE, discard_run, first_process, read_facts, write_config
from spacecast.process.signals import Interrupted, Interruption, interruptible
from spacecast.sweep.launching import align
from spacecast.sweep.multirun import run_many

log = logging.getLogger(__name__)

OK, INTERNAL, USER, INTERRUPTED = 0, 1, 2, 130


def run_command(command: Command, arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point of every console script; ends the process with one of the exit codes above."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with Interruption().listening():  # until there is work to save, a signal ends it at once
            _dispatch(command, words)
    except UserError as error:
        _end(command, str(error), USER)
    except KeyboardInterrupt:
        _end(command, "interrupted", INTERRUPTED)
    except Interrupted as stop:
        _end(command, str(stop), int(stop.code or 0))
    except Exception as error:  # noqa: BLE001 - the last resort: one line on the terminal, the traceback in the log
        hint = getattr(error, "log_file", None) or "set SPACECAST_DEBUG=1 for the traceback"
        if os.environ.get("SPACECAST_DEBUG"):
            traceback.print_exc()
        _end(command, f"internal error, {type(error).__name__}: {error} ({hint})", INTERNAL)
    raise SystemExit(OK)


def _end(command: Command, message: str, code: int) -> NoReturn:
    """Say one line and end."""
    sys.stdout.flush()
    sys.stderr.write(f"{command.name}: error: {' '.join(message.split())}\n")
    raise SystemExit(code)


def _dispatch(command: Command, words: Sequence[str]) -> None:
    """Help, Hydra's own requests, or a checked run."""
    if not {"-h", "--help"}.isdisjoint(words):
        sys.stdout.write(_help(command, words))
        return
    if "--version" in words:
        sys.stdout.write(f"{command.name} {spacecast.__version__}\n")
        return
    flags, words = arranged_words(command, words)
    if flags.hydra_help or flags.cfg or flags.info or flags.shell_completion:
        _call_hydra(command, flags, words, _nothing)
        return
    if flags.multirun:
        run_many(command, flags, conf_of(flags), user_conf_of(flags), checked)
        return
    cfg = compose(flags.config_name or command.config, flags.overrides, conf_of(flags), user_conf_of(flags))
    plain = checked(command, cfg)
    if plain.get("launcher"):
        run_many(command, flags, conf_of(flags), user_conf_of(flags), checked)
        return
    if command.has_run_folder:
        check_folder(Path(plain["paths"]["run_dir"]), "paths.run_dir")
        command.check_folder(plain)
    failures: list[Exception] = []

    def job(cfg: DictConfig) -> None:
        """Keep the error: Hydra would print lines of its own."""
        try:
            run_job(command, cfg)
        except Exception as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    _call_hydra(command, flags, words, job)
    if failures:
        raise failures[0]


def _nothing(_: DictConfig) -> None:
    """The job of a command line that only asks Hydra something."""


def run_job(command: Command, cfg: DictConfig) -> Any:
    """One run: complete, check and record the configuration, then do the work. Called by Hydra or a launcher.

    Raises:
        UserError: a mistake of the user; the folder of a run that never began is removed, one in use left alone.
        Exception: anything else, with its traceback in the log and the attribute `log_file`.

    """
    logging.captureWarnings(True)
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    records = command.has_run_folder and first_process()
    begun = (run_dir / CONFIG_FILE).is_file()  # by a run before, whose records stay
    with interruptible(run_dir if command.has_run_folder else None), locked(run_dir) if records else nullcontext():
        try:
            plain = checked(command, cfg)
            command.check_folder(plain)
            records = records and not (plain.get("dry_run") and read_facts(run_dir))
            if records:
                write_config(plain, run_dir)
            return command.task(plain)
        except UserError:
            if records and not begun:
                discard_run(run_dir)
            raise
        except Exception as error:
            if command.has_run_folder:
                log.exception("internal error")
                error.log_file = f"traceback in {run_dir / HydraConfig.get().job.name}.log"  # type: ignore[attr-defined]
            raise


def checked(command: Command, cfg: DictConfig) -> Plain:
    """The configuration of a run as it is recorded: whole, held against what it is to build, its paths absolute.

    Raises:
        UserError: a mistake in it.

    """
    plain, typed = completed(command, cfg), list(HydraConfig.get().overrides.task)
    plain = without_settings_of_nothing(plain, command.schema, typed)
    try:
        check_config(plain, command.schema)
    except UnknownKeyError as error:
        raise explain_setting(error, plain, typed) from error
    return absolute_paths(plain, command.schema)


def completed(command: Command, cfg: DictConfig) -> Plain:
    """The whole configuration of a run in plain types, its run folder where Hydra put it."""
    hydra_cfg = HydraConfig.get()
    if hydra_cfg.job.chdir:
        raise UserError(
            "hydra.job.chdir=true: a run stays in the folder where it was started, and writes to paths.run_dir; "
            "leave hydra.job.chdir out"
        )
    try:
        place = (
            hydra_cfg.run.dir if OmegaConf.is_missing(hydra_cfg.runtime, "output_dir") else hydra_cfg.runtime.output_dir
        )
        job = job_part(cfg)
        if isinstance(OmegaConf.select(job, "paths"), DictConfig):
            with open_dict(job):
                if command.has_run_folder:
                    job.paths.run_dir = place
                for name, folder in job.paths.items():  # now, for others are made of them
                    if folder is not None:
                        job.paths[name] = absolute_path(folder, f"paths.{name}")
    except UserError:
        raise
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise explain(error, list) from error
    plain = to_plain(job)
    typed = list(hydra_cfg.overrides.task)
    plain = command.complete(plain, typed)
    align(plain, typed)
    return plain


def _help(command: Command, words: Sequence[str]) -> str:
    """Text of `--help` for the configuration that the other words choose."""
    flags = parse_words([word for word in words if word not in ("-h", "--help")])
    overrides = [word for word in flags.overrides if "=" in word]
    cfg = compose(command.config, overrides, conf_of(flags), user_conf_of(flags))
    folders = [folder for folder in (conf_of(flags), user_conf_of(flags)) if folder is not None]
    return help_text(command, cfg, folders)


def _call_hydra(
    command: Command, flags: argparse.Namespace, words: Sequence[str], job: Callable[[DictConfig], Any]
) -> None:
    """Hand over to Hydra; its errors come back as one line."""
    decorate = hydra.main(version_base=VERSION_BASE, config_path=str(conf_of(flags)), config_name=command.config)
    try:
        with _hydra_environment(words):
            decorate(job)()
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, list) from error
    except SystemExit as error:
        if error.code not in (None, 0):
            raise


@contextmanager
def _hydra_environment(words: Sequence[str]) -> Iterator[None]:
    """The words that Hydra reads, and its errors raised rather than printed."""
    before, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [before[0], *words]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        sys.argv = before
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full_error
