"""Members of conf/ and the constructors that they name have the same defaults, or the member says why not.

A key that differs from the constructor's default has the comment `# not DEFAULT: why` on its line. It needs none where
its value is the member's name (layout: multiscale) or comes from another key. Settings of constructors of other
libraries stand in conf/ alone, and so are no second default.
"""

import inspect
import re
from pathlib import Path

import pytest
import yaml

from spacecast.config.targets import locate

CONF = Path(__file__).parents[2] / "conf"
MEMBERS = sorted(path for path in CONF.glob("*/*.yaml") if path.parent.name not in ("experiment", "hydra", "local"))
LINE = re.compile(r"(?P<key>\w+):.*?#.*?\bnot (?P<default>.+?): \S")


def merged(path: Path, texts: dict[str, str]) -> dict:
    """Keys of a member and of those beside it that it builds on; `texts` gathers the line of each key."""
    text = path.read_text()
    own = yaml.safe_load(text) or {}
    values = {}
    for base in own.pop("defaults", []):
        if isinstance(base, str) and base != "_self_":
            values |= merged(path.with_name(f"{base}.yaml"), texts)
    for line in text.splitlines():
        if line.partition(":")[0] in own:
            texts[line.partition(":")[0]] = line
    return values | own


def plain(value: object) -> object:
    """A value as YAML would give it; no entries are as good as none."""
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value] or None
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()} or None
    return value


def other_defaults(path: Path) -> dict[str, tuple[object, object, str]]:
    """Value, constructor's default and line of each key that differs from it."""
    texts: dict[str, str] = {}
    values = merged(path, texts)
    target = str(values.get("_target_", ""))
    if not target.startswith("spacecast."):
        return {}
    parameters = inspect.signature(locate(target, path.stem)).parameters
    found = {}
    for key, value in values.items():
        default = parameters[key].default if key in parameters else inspect.Parameter.empty
        derived = isinstance(value, str) and ("${" in value or value == path.stem or path.stem.endswith(f"_{value}"))
        if default is inspect.Parameter.empty or derived:
            continue
        one, other = plain(value), plain(default)
        if type(one) is not type(other) or one != other:
            found[key] = (one, other, texts[key])
    return found


@pytest.mark.parametrize("path", MEMBERS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_member_has_the_defaults_of_its_constructor_or_says_why_not(path):
    for key, (value, default, line) in other_defaults(path).items():
        said = LINE.match(line)
        assert said, f"{key}: {value} is not the constructor's default {default}: give that default, or say why not"
        assert plain(yaml.safe_load(said["default"])) == default, f"{key}: the default is {default}, not {said[0]}"


def test_a_difference_is_found(tmp_path):
    """The comparison sees another value, another type and a wrong word on the default."""
    member = tmp_path / "mine.yaml"
    target = "_target_: spacecast.models.graph_efm.GraphEFM"
    member.write_text(f"{target}\nhidden_dim: 41\nlatent_dim: 8.0\ndecode_dim: null\nprior: constant\n")
    assert set(other_defaults(member)) == {"hidden_dim", "latent_dim"}
    member.write_text(f"{target}\nhidden_dim: 41  # not 64: wrong\n")
    with pytest.raises(AssertionError, match="the default is 40"):
        test_a_member_has_the_defaults_of_its_constructor_or_says_why_not(member)
    member.write_text(f"{target}\nhidden_dim: 41\n")
    with pytest.raises(AssertionError, match="or say why not"):
        test_a_member_has_the_defaults_of_its_constructor_or_says_why_not(member)


def test_something_is_compared():
    compared = [path for path in MEMBERS if "_target_: spacecast." in path.read_text()]
    assert len(compared) > 20
    assert any(other_defaults(path) for path in compared)
