"""No group of conf/ is without a contract."""

import ast
from pathlib import Path

from spacecast.config.compose import conf_dir, group_members

TESTS = Path(__file__).resolve().parents[1]


def contracts(files: list[Path]) -> dict[str, list[str]]:
    """Tests that run over every file of a group, by group: those that take `GROUP_member` and are not skipped."""
    found: dict[str, list[str]] = {}
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
                continue
            groups = [argument.arg.removesuffix("_member") for argument in node.args.args]
            for group, argument in zip(groups, node.args.args, strict=True):
                if argument.arg != group:
                    found.setdefault(group, []).append(node.name)
    return found


def test_every_group_of_conf_has_a_contract_that_runs_over_all_of_its_files():
    groups = group_members([conf_dir()]).keys()
    found = contracts(sorted(TESTS.rglob("test_*.py")))
    assert groups - found.keys() == set(), "write tests/contracts/test_every_GROUP.py with tests that take GROUP_member"
    assert found.keys() - groups == set(), "there is no such group in conf/"


def test_a_group_without_a_contract_is_found(tmp_path):
    file = tmp_path / "test_every_colour.py"
    file.write_text("def test_it_is_seen(colour_member): ...\ndef test_no(shape): ...\ndef helper(form_member): ...\n")
    assert contracts([file]) == {"colour": ["test_it_is_seen"]}
