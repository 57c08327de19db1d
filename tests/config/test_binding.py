"""Signatures against sections."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from spacecast.config.binding import check_call, check_target, check_value, describe, fits
from spacecast.config.targets import locate
from spacecast.core.errors import UserError
from spacecast.core.ranges import NonNegativeFloat, PositiveInt, Range

FITTING = [
    (3, int), (3, float), (0.5, float), ("a", str), (True, bool), (None, type(None)), (None, int | None),
    ([1, 2], Sequence[int]), ([0.9, 0.95], tuple[float, float]), ([], list[str]), ([1, 2, 3], tuple[int, ...]),
    ({"rho": 2}, Mapping[str, float]), ({"a": {"x_min": 3}}, Mapping[str, Mapping[str, float]]),
    ("sum", Literal["sum", "mean"]), ("data", Path), ("data", str | Path), (3, Any), ([], Any),
    ([{"x_min": 1.0}], Mapping[str, float] | Sequence[Mapping[str, float]]), (2, PositiveInt),
    (None, PositiveInt | None), ({"a": 1}, Mapping[Literal["a", "b"], int]),
]  # fmt: skip
UNFIT = [
    (True, int), (True, float), (3.0, int), ("3", int), (1, bool), (None, int), ("a", Sequence[str]),
    ([1.5], list[int]),
    ([1], tuple[float, float]), ({"rho": "two"}, Mapping[str, float]), ("max", Literal["sum", "mean"]), (3, str | Path),
    ([1], Mapping[str, float]), (1, Literal[True]), (3, None), ({"c": 1}, Mapping[Literal["a", "b"], int]),
    ({"a": -1}, Mapping[Literal["a", "b"], Literal[1]]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "annotation"), FITTING)
def test_what_fits(value, annotation):
    assert fits(value, annotation)
    check_value(value, annotation, "key")


@pytest.mark.parametrize(("value", "annotation"), UNFIT)
def test_what_does_not(value, annotation):
    assert not fits(value, annotation)
    with pytest.raises(UserError, match=r"^key: expected .*, found"):
        check_value(value, annotation, "key")


def test_annotations_in_words():
    assert describe(int | None) == "a whole number or null"
    assert describe(Sequence[float]) == "a list of a number"
    assert describe(Literal["sum", "mean"]) == "'sum' or 'mean'"
    assert describe(Mapping[str, float]) == "a mapping of names to a number"
    assert describe(Mapping[Literal["a", "b"], int]) == "a mapping of 'a' or 'b' to a whole number"


class Part:
    """Something with keywords."""

    def __init__(
        self,
        spec: object,
        *,
        hidden_dim: PositiveInt = 4,
        weight: NonNegativeFloat | None = 1.0,
        rate: Annotated[float, Range(0, 1)] = 0,
        x_weight: float = 1.0,
        sizes: Sequence[PositiveInt] | Mapping[str, PositiveInt] = (),
    ):
        self.hidden_dim = hidden_dim


def test_keywords_types_and_ranges():
    check_call(Part, {"hidden_dim": 8, "weight": 0.0}, "model")
    for values, message in (
        ({"hiden_dim": 8}, r"unknown key 'model.hiden_dim'; did you mean 'model.hidden_dim'\?"),
        ({"hidden_dim": 0}, "model.hidden_dim: expected at least 1, found 0"),
        ({"weight": -1.0}, "model.weight: expected at least 0"),
        ({"weight": float("nan")}, "model.weight: expected a finite number"),
        ({"rate": 1.5}, "model.rate: expected from 0 to 1, found 1.5"),
        ({"rate": float("nan")}, "model.rate: expected a finite number"),
        ({"x_weight": float("inf")}, "model.x_weight: expected a finite number, found inf"),
        ({"sizes": [1, 0]}, r"model.sizes\[1\]: expected at least 1, found 0"),
        ({"sizes": {"a": 0}}, "model.sizes.a: expected at least 1, found 0"),
    ):
        with pytest.raises(UserError, match=message):
            check_call(Part, values, "model")


def test_what_is_not_annotated_with_a_range_has_none():
    """Whatever the name of a parameter of one's own ends with."""
    check_call(Part, {"x_weight": -1.0, "weight": None, "sizes": [3]}, "model")


@pytest.mark.parametrize(
    ("target", "values", "message"),
    [
        ("torch.optim.AdamW", {"lr": -0.1}, "part.lr: expected at least 0, found -0.1"),
        ("torch.optim.SGD", {"weight_decay": -1}, "part.weight_decay: expected at least 0"),
        ("pytorch_lightning.Trainer", {"max_epochs": 0}, "part.max_epochs: expected at least 1, found 0"),
        ("pytorch_lightning.Trainer", {"devices": -2}, "part.devices: expected at least 1, found -2"),
    ],
)
def test_others_whose_constructors_check_little(target, values, message):
    with pytest.raises(UserError, match=message):
        check_call(locate(target, "part"), values, "part")


def test_minus_one_means_no_limit_where_lightning_says_so():
    trainer = locate("pytorch_lightning.Trainer", "trainer")
    check_call(trainer, {"max_epochs": -1, "max_steps": -1, "devices": -1}, "trainer")
    check_call(trainer, {"devices": [0, 1], "gradient_clip_val": None}, "trainer")


def test_open_signatures_take_any_keyword():
    check_call(dict, {"anything": 3}, "x")
    check_call(lambda **keywords: keywords, {"anything": 3}, "x")


def test_a_missing_argument_is_found_unless_partial():
    node = {"_target_": f"{locate.__module__}.locate", "where": "x"}
    check_target({**node, "_partial_": True}, "part")
    with pytest.raises(UserError, match=r"part: .* needs target"):
        check_target(node, "part")


def test_nested_targets_are_checked():
    inner = {"_target_": f"{Range.__module__}.Range", "leest": 1}
    for value in (inner, [inner]):
        with pytest.raises(UserError, match=r"did you mean .*\.least"):
            check_value(value, Any, "part.range")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nowhere.at.all", "there is no module 'nowhere'"),
        ("spacecast.models.persistence.Persistenc", "did you mean 'Persistence'"),
        ("spacecast.modles.persistence.Persistence", "did you mean 'models'|does not exist"),
        ("spacecast.__version__", "cannot be called"),
    ],
)
def test_targets_that_do_not_import(target, message):
    with pytest.raises(UserError, match=message):
        locate(target, "model")


def test_a_module_that_needs_a_missing_package_is_named(tmp_path, monkeypatch):
    (tmp_path / "needs_more.py").write_text("import not_installed_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="needs_more needs the module 'not_installed_at_all'"):
        locate("needs_more.Model", "model")
