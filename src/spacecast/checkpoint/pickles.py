"""A reader of pickles that runs nothing and imports nothing.

Python's unpickler calls whatever a pickle names. This one knows the opcodes that `torch.save` writes, builds plain
containers, and turns objects of a few known classes into inert records. Anything else is refused.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from spacecast.core.errors import UserError

SCALARS = (str, int, float, bool, type(None))


class Name(NamedTuple):
    """A class or function that a pickle names; never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Mark(NamedTuple):
    """Where a container begins on the stack."""


@dataclass
class Record:
    """An object of a foreign class: what it would have been built from, and its attributes."""

    kind: Name
    arguments: tuple
    attributes: dict[str, Any] = field(default_factory=dict)


class Storage(NamedTuple):
    """Where a tensor's numbers are: name of the storage class, of the file in the archive, and number of elements."""

    kind: str
    key: str
    size: int


class TensorRecipe(NamedTuple):
    """A tensor whose numbers have not been read."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def _tensor(arguments: tuple) -> TensorRecipe:
    """Arguments of torch._utils._rebuild_tensor_v2."""
    storage, offset, shape, stride = arguments[:4]
    numbers = [offset, *shape, *stride]
    if not isinstance(storage, Storage) or not all(type(n) is int and n >= 0 for n in numbers):
        raise UserError("the checkpoint holds a malformed tensor")
    if len(shape) != len(stride):
        raise UserError("the checkpoint holds a malformed tensor")
    return TensorRecipe(storage, offset, tuple(shape), tuple(stride))


BUILDERS: dict[Name, Callable[[tuple], Any]] = {
    Name("torch._utils", "_rebuild_tensor_v2"): _tensor,
    Name("collections", "OrderedDict"): lambda _: {},
    Name("collections", "defaultdict"): lambda _: {},
    Name("__builtin__", "set"): lambda arguments: list(arguments[0]),
}


class Reader:
    """Interprets the opcodes of one pickle.

    Args:
        inert: says whether objects of a named class may be kept as inert records.

    """

    def __init__(self, inert: Callable[[Name], bool]) -> None:
        self.inert = inert
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def read(self, data: bytes) -> Any:
        """The object that a pickle describes.

        Raises:
            UserError: when it is damaged, or holds anything but plain containers, tensors and known records.

        """
        try:
            for opcode, argument, _ in pickletools.genops(data):
                if opcode.name == "STOP":
                    return self.stack.pop()
                self._run(opcode.name, argument)
        except (ValueError, IndexError, TypeError, KeyError, AttributeError, OverflowError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"the checkpoint's pickle is damaged ({error}); download it again") from error
        raise UserError("the checkpoint's pickle ends early; download it again")

    def _run(self, opcode: str, argument: Any) -> None:
        """One step of the machine."""
        if opcode in LITERALS:
            self.stack.append(LITERALS[opcode](argument))
        elif opcode in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif opcode in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif opcode in METHODS:
            METHODS[opcode](self)
        elif opcode == "GLOBAL":
            self.stack.append(Name(*argument.split(" ", 1)))
        elif opcode != "PROTO":
            raise UserError(f"the checkpoint's pickle uses {opcode}, which torch.save does not write; it is not read")

    def _since_mark(self) -> list[Any]:
        """Take everything above the last mark off the stack."""
        for position in range(len(self.stack) - 1, -1, -1):
            if isinstance(self.stack[position], Mark):
                values = self.stack[position + 1 :]
                del self.stack[position:]
                return values
        raise ValueError("no mark on the stack")

    def _tuple(self, count: int | None = None) -> None:
        """A tuple of the last values."""
        values = self._since_mark() if count is None else self.stack[len(self.stack) - count :]
        if count is not None:
            del self.stack[len(self.stack) - count :]
        self.stack.append(tuple(values))

    def _append(self, values: list[Any]) -> None:
        """Extend the list below."""
        target = self.stack[-1]
        if not isinstance(target, list):
            raise TypeError(f"items for {type(target).__name__}")
        target.extend(values)

    def _set_items(self, values: list[Any]) -> None:
        """Fill the dictionary below; attributes that a dictionary's class may have are of no interest."""
        target = self.stack[-1]
        keys = values[::2]
        if not isinstance(target, dict) or not all(isinstance(key, SCALARS) for key in keys):
            raise TypeError(f"entries for {type(target).__name__}")
        target.update(zip(keys, values[1::2], strict=True))

    def _pop(self) -> Any:
        """Take the last value off the stack."""
        return self.stack.pop()

    def _call(self) -> None:
        """REDUCE and NEWOBJ: what would be a call becomes a container, a recipe or a record."""
        arguments, named = self.stack.pop(), self.stack.pop()
        if not isinstance(named, Name) or not isinstance(arguments, tuple):
            raise UserError("the checkpoint's pickle calls something that is not a named class; it is not read")
        if named in BUILDERS:
            self.stack.append(BUILDERS[named](arguments))
        elif self.inert(named):
            self.stack.append(Record(named, arguments))
        else:
            raise UserError(f"the checkpoint's pickle would call {named}; it may be hostile and is not read")

    def _build(self) -> None:
        """BUILD: attributes of a record; those of other objects (an OrderedDict's) are of no interest."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Record) and isinstance(state, dict):
            target.attributes.update(state)
        elif not isinstance(target, (Record, dict)):
            raise UserError(f"the checkpoint's pickle alters a {type(target).__name__}; it is not read")

    def _persistent(self) -> None:
        """BINPERSID: the only thing kept outside the pickle is a tensor's storage."""
        identity = self.stack.pop()
        if not (isinstance(identity, tuple) and len(identity) == 5 and identity[0] == "storage"):
            raise UserError("the checkpoint's pickle refers to something that is not a tensor; it is not read")
        _, kind, key, _, size = identity
        known = isinstance(kind, Name) and kind.module == "torch" and kind.name.endswith("Storage")
        if not known or not isinstance(key, str) or type(size) is not int:
            raise UserError("the checkpoint's pickle holds a malformed storage; it is not read")
        self.stack.append(Storage(kind.name, key, size))


def _value(argument: Any) -> Any:
    """The argument is the value."""
    return argument


LITERALS: dict[str, Callable[[Any], Any]] = {
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_TUPLE": lambda _: (),
    "EMPTY_LIST": lambda _: [],
    "EMPTY_DICT": lambda _: {},
    "MARK": lambda _: Mark(),
} | dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"), _value)
METHODS: dict[str, Callable[[Reader], Any]] = {
    "TUPLE": lambda reader: reader._tuple(),
    "TUPLE1": lambda reader: reader._tuple(1),
    "TUPLE2": lambda reader: reader._tuple(2),
    "TUPLE3": lambda reader: reader._tuple(3),
    "APPEND": lambda reader: reader._append([reader._pop()]),
    "APPENDS": lambda reader: reader._append(reader._since_mark()),
    "SETITEM": lambda reader: reader._set_items([reader._pop(), reader._pop()][::-1]),
    "SETITEMS": lambda reader: reader._set_items(reader._since_mark()),
    "REDUCE": Reader._call,
    "NEWOBJ": Reader._call,
    "BUILD": Reader._build,
    "BINPERSID": Reader._persistent,
}


def names(data: bytes) -> set[Name]:
    """Every class or function that a pickle names, without interpreting it.

    Raises:
        UserError: when it is damaged.

    """
    try:
        found = [str(argument) for opcode, argument, _ in pickletools.genops(data) if opcode.name == "GLOBAL"]
        return {Name(*argument.split(" ", 1)) for argument in found}
    except (ValueError, TypeError, IndexError) as error:
        raise UserError(f"the checkpoint's pickle is damaged ({error}); download it again") from error
