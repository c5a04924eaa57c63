"""Reads a pickle into stand-ins that do nothing: no name in it is imported, and nothing that it asks for is called.

Unpickling runs code (sb3_facts.md#unpickling). Here each name in a pickle stands for an inert class of this module or
of the reader's, or is refused, NumPy's included. Arrays are put together afterwards from their bytes.
"""

import abc
import pickle
import pickletools
import re
from collections.abc import Mapping
from typing import Any, BinaryIO, Self

import numpy as np

_NUMBER_CODE = re.compile(r"[fiub]\d")


class RefusedNameError(Exception):
    """The pickle names something that is not inert."""


class Inert:
    """Stands for an object of the pickle, and keeps what the pickle would have done to it.

    Every class that the unpickler may hand out has ``__setstate__``: without one, a pickle could set attributes.
    """

    def __init__(self, *arguments: Any, **_named: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __new__(cls, *_arguments: Any, **_named: Any) -> Self:
        """Returns a stand-in that a pickle makes without a call of its class."""
        made = super().__new__(cls)
        made.arguments = _arguments
        made.state = None
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Ignores an entry: no reader needs what a dictionary of spaces, or a queue, holds."""

    def append(self, item: Any) -> None:
        """Ignores an item."""

    def extend(self, items: Any) -> None:
        """Ignores items."""

    def add(self, item: Any) -> None:
        """Ignores a member."""


class InertDict(dict[Any, Any]):
    """``collections.OrderedDict``, without the attributes that a pickle could give it."""

    def __setstate__(self, state: Any) -> None:
        """Ignores attributes of a dictionary."""


class _Dtype(Inert):
    """``numpy.dtype``, called with its code, then given its byte order as the second item of its state."""

    def build(self) -> np.dtype[Any]:
        order = "" if self.state is None else str(self.state[1])
        code = str(self.arguments[0])
        if not _NUMBER_CODE.fullmatch(code) or order not in ("", "<", ">", "=", "|"):
            raise ValueError(f"numbers of type {order}{code}")
        return np.dtype(order + code)


class _Numbers(Inert, abc.ABC):
    """An array or a number, put together only when its reader needs it."""

    @abc.abstractmethod
    def build(self) -> np.ndarray:
        """Returns the numbers."""


class _Array(_Numbers):
    """``numpy.ndarray``, made empty and then given version, shape, dtype, order and bytes as its state."""

    def build(self) -> np.ndarray:
        _, shape, dtype, is_fortran, content = self.state
        return np.frombuffer(content, dtype.build()).reshape(shape, order="F" if is_fortran else "C")


class _BufferArray(_Numbers):
    """What pickle protocol 5 makes of an array: a call with bytes, dtype, shape and order."""

    def build(self) -> np.ndarray:
        content, dtype, shape, order = self.arguments
        return np.frombuffer(content, dtype.build()).reshape(shape, order=order)


class _Scalar(_Numbers):
    """A NumPy number: a call with dtype and bytes."""

    def build(self) -> np.ndarray:
        dtype, content = self.arguments
        return np.frombuffer(content, dtype.build()).reshape(())


Names = Mapping[tuple[str, str], type]
"""The stand-in of each name, which is a module and what it holds."""

_STAND_INS: dict[tuple[str, str], type] = {
    ("collections", "OrderedDict"): InertDict,
    ("collections", "deque"): Inert,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): Inert,
    ("numpy.random.mtrand", "RandomState"): Inert,
    # Names of number types: a space may hold its dtype as a class.
    **{("numpy", name): Inert for name in ("float16", "float32", "float64", "bool_", "bool", "str_")},
    **{("numpy", f"{sign}int{bits}"): Inert for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
# Builtins that hold values and do nothing. What looks names up, imports, runs or changes something is not among them.
_VALUE_TYPES = (
    "set",
    "frozenset",
    "list",
    "tuple",
    "dict",
    "str",
    "bytes",
    "bytearray",
    "bool",
    "int",
    "float",
    "complex",
    "slice",
    "range",
    "object",
    "Ellipsis",
    "NotImplemented",
)
for _builtins in ("builtins", "__builtin__"):
    _STAND_INS.update({(_builtins, _name): Inert for _name in _VALUE_TYPES})
for _name in ("long", "unicode", "xrange"):
    _STAND_INS["__builtin__", _name] = Inert
for _core in ("numpy.core", "numpy._core"):
    _STAND_INS[f"{_core}.multiarray", "_reconstruct"] = _Array
    _STAND_INS[f"{_core}.multiarray", "scalar"] = _Scalar
    _STAND_INS[f"{_core}.numeric", "_frombuffer"] = _BufferArray
for _name in ("__randomstate_ctor", "__generator_ctor", "__bit_generator_ctor"):
    _STAND_INS["numpy.random._pickle", _name] = Inert
for _name in ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"):
    _STAND_INS[f"numpy.random._{_name.lower()}", _name] = Inert
_STAND_INS["numpy.random._pcg64", "PCG64DXSM"] = Inert
_STAND_INS["numpy.random.bit_generator", "SeedSequence"] = Inert
_STAND_INS["numpy.random.bit_generator", "__pyx_unpickle_SeedSequence"] = Inert
for _gym in ("gym", "gymnasium"):
    _STAND_INS[f"{_gym}.utils.seeding", "RandomNumberGenerator"] = Inert
    for _module, _name in (
        ("box", "Box"),
        ("dict", "Dict"),
        ("discrete", "Discrete"),
        ("multi_binary", "MultiBinary"),
        ("multi_discrete", "MultiDiscrete"),
        ("tuple", "Tuple"),
    ):
        _STAND_INS[f"{_gym}.spaces.{_module}", _name] = Inert


def load_inert(stream: BinaryIO, names: Names) -> Any:
    """Returns what a pickle holds, its objects as stand-ins: those of NumPy and of spaces, and of the names given.

    Args:
        stream: The pickle, which can be read twice.
        names: What else it may name, each with its stand-in: a subclass of ``Inert``.

    Raises:
        RefusedNameError: It names something else.
        Exception: It is damaged: a hostile pickle drives the unpickler into any error.
    """
    _refuse_memo_bombs(stream)
    stream.seek(0)
    return _InertUnpickler(stream, names).load()


def array_of(value: Any) -> np.ndarray:
    """Returns the array that a stand-in of numbers, or plain data of a pickle, stands for; it may be read-only.

    Raises:
        Exception: It is none, or of no plain numbers.
    """
    array = np.asarray(value.build() if isinstance(value, _Numbers) else value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"entries of type {array.dtype}")
    return array


class _InertUnpickler(pickle.Unpickler):
    """Builds stand-ins; REDUCE, NEWOBJ and BUILD of a pickle reach nothing but them."""

    def __init__(self, stream: BinaryIO, names: Names) -> None:
        super().__init__(stream)
        self._names = {**_STAND_INS, **names}

    def find_class(self, module: str, name: str) -> type:
        """Returns the stand-in of a name; looks nothing up and imports nothing."""
        try:
            return self._names[module, name]
        except KeyError:
            raise RefusedNameError(f"{module}.{name}") from None


def _refuse_memo_bombs(stream: BinaryIO) -> None:
    """Raises ValueError where a pickle stores an object at a number so large that the table alone fills the memory."""
    size = stream.seek(0, 2)
    stream.seek(0)
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument is not None and argument > size:
            raise ValueError(f"it asks for {argument} places in memory")
