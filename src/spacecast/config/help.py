"""The text of `--help`, made from the configuration itself."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from spacecast.config.command import Command
from spacecast.config.compose import group_members, job_part
from spacecast.process.exit_codes import AT_ONCE, DONE, GOES_ON, INTERNAL_ERROR, USER_ERROR

FLAGS = """Flags
  --help            this text               -m, --multirun    one run for each of several values: a.b=1,2,3
  --cfg job         print the configuration --config-dir DIR  folder with your own groups and members
  --hydra-help      Hydra's own options     --info defaults   where each part of the configuration comes from"""

CODES = f"""Exit codes: {DONE} done, {INTERNAL_ERROR} an error inside spacecast, {USER_ERROR} a mistake of the user, \
{AT_ONCE} ended at once by the keyboard,
{GOES_ON} interrupted: the same command{{again}} goes on
"""


def help_text(command: Command, cfg: DictConfig, folders: Sequence[Path]) -> str:
    """Text for the terminal: usage, examples, groups with members and choice, the most used keys with defaults.

    Args:
        command: what to explain.
        cfg: the composed defaults, `hydra` node included.
        folders: configuration folders, searched in order.

    """
    choices = cfg.hydra.runtime.choices
    groups = {group: members for group, members in group_members(folders).items() if group in choices}
    members = [_wrap(group, _mark(members, choices[group])) for group, members in groups.items()]
    job = job_part(cfg)
    texts = {_key(job, key): meaning for key, meaning in command.keys.items()}
    width = min(max(map(len, texts)), 44)
    lines = [f"{command.name}: {command.summary}", "", *(f"  {line}".rstrip() for line in command.usage), ""]
    lines += ["Examples", *(f"  {line:<66s} {meaning}" for line, meaning in command.examples.items()), ""]
    lines += ["Groups (group=member; * is in use)", *members, ""]
    codes = CODES.format(again=" with the same paths.run_dir" if command.has_run_folder else "")
    keys = [f"  {text:<{width}s}  {meaning}" for text, meaning in texts.items()]
    lines += ["Keys (key=value), with defaults", *keys, ""]
    return "\n".join([*lines, FLAGS, "", codes, f"Configuration folder: {folders[0]}", ""])


def _mark(members: Sequence[str], chosen: Any) -> str:
    """Members of a group, the one in use with a star."""
    return "  ".join(f"{member}*" if member == chosen else member for member in members)


def _wrap(title: str, text: str) -> str:
    """Title in a column of its own, text wrapped beside it."""
    return textwrap.fill(
        text, 118, initial_indent=f"  {title:<12s}", subsequent_indent=" " * 14, break_long_words=False
    )


def _key(job: DictConfig, key: str) -> str:
    """`key=default`; an empty default when it is mandatory, none when another member of a group brings the key."""
    if not OmegaConf.is_missing(job, key) and OmegaConf.select(job, key, default=job) is job:
        return key
    value = "" if OmegaConf.is_missing(job, key) else OmegaConf.select(job, key)
    if isinstance(value, DictConfig):
        value = f"{{{', '.join(map(str, value))}}}"
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else value
    return f"{key}={text}".replace(f"{Path.cwd()}/", "")
