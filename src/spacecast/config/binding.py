"""Holds one section of the configuration against the signature it will be called with."""

import inspect
import math
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from spacecast.config.targets import locate
from spacecast.core.errors import UnknownKeyError, UserError, nearest
from spacecast.core.names import typed_keys, within
from spacecast.core.ranges import Range

DIRECTIVES = ("_target_", "_partial_", "_recursive_", "_convert_", "_args_")

# Ranges of constructors that are not ours and check little of it themselves; Lightning reads -1 as "no limit" or "all".
OTHERS = {
    "pytorch_lightning.trainer": {
        "max_epochs": Range(1, beside=-1), "max_steps": Range(1, beside=-1), "devices": Range(1, beside=-1),
        "num_nodes": Range(1), "min_epochs": Range(1), "min_steps": Range(0), "num_sanity_val_steps": Range(0),
        "check_val_every_n_epoch": Range(1), "accumulate_grad_batches": Range(1), "log_every_n_steps": Range(0),
        "gradient_clip_val": Range(0),
    },
    "torch.optim": {"lr": Range(0), "weight_decay": Range(0)},
}  # fmt: skip


def check_target(
    node: Mapping[str, Any], where: str, others: Sequence[str] = (), given: Sequence[str] = ()
) -> None:
    """Hold a section with `_target_`, and those within it, against the signatures of what they build.

    Args:
        node: plain types.
        where: dotted key of the section, for messages.
        others: further keys of the section, which the target does not take, for messages.
        given: parameters that are filled in later, and that no configuration may hold.

    Raises:
        UserError: the target does not import, has no such keyword, or a value has the wrong type or range.

    """
    if not isinstance(node.get("_target_"), str):
        raise UserError(f"{where}: needs _target_, the path of a class or function; found {node.get('_target_')!r}")
    target = locate(node["_target_"], where)
    check_call(target, {key: value for key, value in node.items() if key not in DIRECTIVES}, where, others, given)
    if not node.get("_partial_", False):
        required = [
            name for name, parameter in _named(_parameters(target)).items() if parameter.default is parameter.empty
        ]
        if missing := [name for name in required if name not in node]:
            raise UserError(f"{where}: {node['_target_']} needs {', '.join(missing)}")


def check_call(
    function: Callable[..., Any],
    values: Mapping[str, Any],
    where: str,
    others: Sequence[str] = (),
    given: Sequence[str] = (),
) -> None:
    """Hold keywords against a signature: names, types by annotation, ranges."""
    parameters = _parameters(function)
    names = list(_named(parameters))
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    hints = hints_of(function)
    prefix = f"{where}." if where else ""
    for name, value in values.items():
        key = prefix + name
        if name not in names and not takes_any:
            valid = [prefix + option for option in (*names, *others) if option not in given]
            raise UnknownKeyError(key, valid, getattr(function, "__name__", where))
        if name in given:
            raise UserError(f"{key} is filled in by spacecast itself; leave it out")
        check_value(value, hints.get(name, Any), key)


def without_foreign(node: Mapping[str, Any], where: str, typed: Sequence[str]) -> dict[str, Any]:
    """A section whose `_target_` was typed, without what belongs to the member of the group that it was typed over.

    Args:
        node: plain types.
        where: dotted key of the section.
        typed: overrides of the command line; keys that they name stay, for the check to speak of.

    """
    keys = typed_keys(typed)
    if f"{where}._target_" not in keys or not isinstance(node.get("_target_"), str):
        return dict(node)
    parameters = _parameters(locate(node["_target_"], where))
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return dict(node)
    known = {*DIRECTIVES, *_named(parameters)}
    return {name: value for name, value in node.items() if name in known or f"{where}.{name}" in keys}


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function or a constructor names a keyword."""
    return name in _named(_parameters(function))


def defaults_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Defaults of the keywords of a function or of a constructor."""
    named = _named(_parameters(function)).items()
    return {name: parameter.default for name, parameter in named if parameter.default is not parameter.empty}


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Parameters of a function or of a constructor, without self."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {"keywords": inspect.Parameter("keywords", inspect.Parameter.VAR_KEYWORD)}


def _named(parameters: Mapping[str, inspect.Parameter]) -> dict[str, inspect.Parameter]:
    """All but *args and **kwargs."""
    return {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Annotations of the parameters, with what `OTHERS` adds to them; none where they cannot be evaluated."""
    owner: Any = function
    if inspect.isclass(function) and "__init__" in vars(function):
        owner = function.__init__
    try:
        hints = get_type_hints(inspect.unwrap(owner), include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}
    home = str(getattr(function, "__module__", ""))
    for ranges in (ranges for module, ranges in OTHERS.items() if within(home, [module])):
        hints |= {name: Annotated[hints[name], limits] for name, limits in ranges.items() if name in hints}
    return hints


def check_value(value: Any, annotation: Any, key: str) -> None:
    """Hold one value against an annotation: its type, its ranges, and that every number is finite.

    Raises:
        UserError: the value does not fit.

    """
    if isinstance(value, Mapping) and "_target_" in value:
        check_target(value, key)
        return
    if isinstance(value, (list, tuple)):
        for number, entry in enumerate(value):
            if isinstance(entry, Mapping) and "_target_" in entry:
                check_target(entry, f"{key}[{number}]")
    if not fits(value, annotation):
        raise UserError(f"{key}: expected {describe(annotation)}, found {value!r}{_choice_hint(value, annotation)}")
    _check_numbers(value, annotation, key)


def _check_numbers(value: Any, annotation: Any, key: str) -> None:
    """Refuse numbers that are not finite or out of their range; sections with a target are checked on their own."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        _check_numbers(value, arguments[0], key)
        for limits in (extra for extra in arguments[1:] if isinstance(extra, Range) and _is_number(value)):
            if value not in limits:
                raise UserError(f"{key}: expected {limits}, found {value!r}")
    elif origin in (Union, types.UnionType):
        for part in arguments:
            if fits(value, part):
                _check_numbers(value, part, key)
    elif isinstance(value, Mapping) and "_target_" not in value:
        for name, entry in value.items():
            _check_numbers(entry, arguments[1] if len(arguments) == 2 else Any, f"{key}.{name}")
    elif isinstance(value, (list, tuple)):
        for number, entry in enumerate(value):
            _check_numbers(entry, arguments[0] if len(arguments) == 1 else Any, f"{key}[{number}]")
    elif _is_number(value) and not math.isfinite(value):
        raise UserError(f"{key}: expected a finite number, found {value!r}")


def _is_number(value: Any) -> bool:
    """Whether it is a number, and no truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _choice_hint(value: Any, annotation: Any) -> str:
    """End of the message for one of several fixed words."""
    words = [word for word in _alternatives(annotation) if isinstance(word, str)]
    return f"; {nearest(str(value), words)}" if words else ""


def _alternatives(annotation: Any) -> list[Any]:
    """The words of all Literals in an annotation."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [word for part in get_args(annotation) for word in _alternatives(part)]


def fits(value: Any, annotation: Any) -> bool:
    """Whether a plain value can stand for an annotation; unknown kinds of annotation accept anything."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is None or annotation is types.NoneType:
        return value is None
    if origin is Annotated:
        return fits(value, arguments[0])
    if origin in (Union, types.UnionType):
        return any(fits(value, part) for part in arguments)
    if origin is Literal:
        return any(value == word and type(value) is type(word) for word in arguments)
    if annotation is bool:
        return isinstance(value, bool)
    if annotation in (int, float):
        return _is_number(value) and isinstance(value, (int, annotation))
    if annotation is str:
        return isinstance(value, str)
    if inspect.isclass(annotation) and issubclass(annotation, Path):
        return isinstance(value, str)
    container = origin or annotation
    if container is Callable:
        return False  # comes as a section with a `_target_`, which has been looked at before
    if inspect.isclass(container) and issubclass(container, Mapping):
        inside = arguments[1] if len(arguments) == 2 else Any
        known = _alternatives(arguments[0]) if arguments else []
        right = isinstance(value, Mapping) and all(name in known or not known for name in value)
        return right and all(fits(entry, inside) for entry in value.values())
    if inspect.isclass(container) and issubclass(container, (Sequence, Iterable)) and container is not str:
        return _fits_sequence(value, arguments)
    return True


def _fits_sequence(value: Any, arguments: tuple[Any, ...]) -> bool:
    """Whether a list has the members that list[...], tuple[...] or Sequence[...] asks for."""
    if not isinstance(value, (list, tuple)):
        return False
    if len(arguments) == 1 or (len(arguments) == 2 and arguments[1] is Ellipsis):
        return all(fits(entry, arguments[0]) for entry in value)
    return not arguments or (len(value) == len(arguments) and all(map(fits, value, arguments)))


def describe(annotation: Any) -> str:
    """An annotation in the words of a user."""
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return describe(arguments[0])
    if origin is Literal:
        return " or ".join(repr(word) for word in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe(part) for part in arguments))
    container = origin or annotation
    if annotation in (None, types.NoneType):
        return "null"
    if annotation in words:
        return words[annotation]
    if container is Callable:
        return "the _target_ of a function"
    if inspect.isclass(container) and issubclass(container, Mapping):
        if len(arguments) != 2:
            return "a mapping"
        names = describe(arguments[0]) if _alternatives(arguments[0]) else "names"
        return f"a mapping of {names} to {describe(arguments[1])}"
    if inspect.isclass(container) and issubclass(container, Iterable):
        return f"a list of {describe(arguments[0])}" if arguments else "a list"
    return getattr(annotation, "__name__", str(annotation))
