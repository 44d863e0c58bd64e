"""Checks of what users set: each returns the value in its normal form or raises, naming the property."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import TypeVar

import numpy as np

from tensorwright.base.errors import NetworkError
from tensorwright.tensor.dim import Dim, IntegerExpression, Symbol, expression
from tensorwright.tensor.dtype import DTYPES, DType, dtype_of

Ints = tuple[int, ...]
Member = TypeVar("Member", bound=Enum)


def as_integer(value: object) -> int | None:
    """An integer of any integer type; None for anything else (bool included)."""
    if isinstance(value, bool | np.bool_):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def integer(low: int) -> Callable[[str, object], int]:
    """An integer of at least `low`."""

    def check(name: str, value: object) -> int:
        number = as_integer(value)
        if number is None or number < low:
            raise NetworkError(f"{name}: expected an integer of at least {low}, found {value!r}")
        return number

    return check


def integers(low: int | None = None, count: int | None = None) -> Callable[[str, object], Ints]:
    """A sequence of integers of at least `low`. One integer stands for `count` equal ones, if count is given."""

    def check(name: str, value: object) -> Ints:
        single = as_integer(value)
        values = [single] * (count or 1) if single is not None else _sequence(value)
        numbers = None if values is None else [as_integer(one) for one in values]
        wanted = f"{'' if count is None else f'{count} '}integers{'' if low is None else f' of at least {low}'}"
        if numbers is None or any(n is None or (low is not None and n < low) for n in numbers):
            raise NetworkError(f"{name}: expected {wanted}, found {value!r}")
        if count is not None and len(numbers) != count:
            raise NetworkError(f"{name}: expected {wanted}, found {len(numbers)}: {value!r}")
        return tuple(n for n in numbers if n is not None)

    return check


def text(name: str, value: object) -> str:
    """A string that is not empty."""
    if not isinstance(value, str) or not value:
        raise NetworkError(f"{name}: expected a string that is not empty, found {value!r}")
    return value


def index(name: str, value: object, low: int, high: int) -> int:
    """An integer from `low` to below `high`."""
    found = as_integer(value)
    if found is None or not low <= found < high:
        raise NetworkError(f"{name}: expected a number from {low} to {high - 1}, found {value!r}")
    return found


def anything(_name: str, value: object) -> object:
    """Any value: it is checked when it is used."""
    return value


def optional_integer(low: int) -> Callable[[str, object], int | None]:
    """None, or an integer of at least `low`."""
    return lambda name, value: None if value is None else integer(low)(name, value)


def optional_dimensions(name: str, value: object) -> tuple[Dim, ...] | None:
    """None, or a sequence of dimensions."""
    return None if value is None else dimensions(name, value)


def optional_numbers(name: str, value: object) -> tuple[float, ...] | None:
    """None, or a sequence of real numbers."""
    if value is None:
        return None
    values = _sequence(value)
    if values is None:
        raise NetworkError(f"{name}: expected a sequence of numbers, found {value!r}")
    return tuple(number(name, one) for one in values)


def number(name: str, value: object) -> float:
    """A real number."""
    if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
        raise NetworkError(f"{name}: expected a number, found {value!r}")
    return float(value)


def truth(name: str, value: object) -> bool:
    """True or False."""
    if not isinstance(value, bool | np.bool_):
        raise NetworkError(f"{name}: expected True or False, found {value!r}")
    return bool(value)


def member(kind: type[Member]) -> Callable[[str, object], Member]:
    """A member of an enumeration."""

    def check(name: str, value: object) -> Member:
        if not isinstance(value, kind):
            choices = ", ".join(one.name for one in kind)
            raise NetworkError(f"{name}: expected a tensorwright.{kind.__name__} ({choices}), found {value!r}")
        return value

    return check


def data_type(name: str, value: object) -> DType:
    """An element type: tensorwright's own, NumPy's, or its name."""
    if isinstance(value, DType):
        return value
    if isinstance(value, str) and value in DTYPES:
        return DTYPES[value]
    try:
        return dtype_of(value)  # type: ignore[arg-type]
    except (TypeError, NetworkError):
        raise NetworkError(f"{name}: expected one of {', '.join(DTYPES)}, found {value!r}") from None


def dimension(name: str, value: object) -> Dim:
    """An integer of at least 0, or a symbolic dimension."""
    if isinstance(value, Symbol):
        return expression(value)
    if isinstance(value, IntegerExpression):
        return value
    found = as_integer(value)
    if found is None or found < 0:
        raise NetworkError(f"{name}: expected integers of at least 0 or symbolic dimensions, found {value!r}")
    return found


def dimensions(name: str, value: object) -> tuple[Dim, ...]:
    """A sequence of dimensions."""
    values = _sequence(value)
    if values is None:
        raise NetworkError(f"{name}: expected a sequence of dimensions, found {value!r}")
    return tuple(dimension(name, one) for one in values)


def reduced_axes(name: str, value: object, rank: int) -> Ints:
    """Axes as a bit mask (bit i for axis i) or as a sequence of axes, sorted.

    Raises:
        NetworkError: there is no axis, one is given twice, or one is not below `rank`.
    """
    mask = as_integer(value)
    if mask is not None:
        axes: Sequence[int] = [axis for axis in range(mask.bit_length()) if mask >> axis & 1] if mask > 0 else []
    else:
        axes = [axis + rank if axis < 0 else axis for axis in integers()(name, value)]
    if not axes or len(set(axes)) < len(axes) or not all(0 <= axis < rank for axis in axes):
        found = f"{value!r}" if mask is None else f"{value} (axes {list(axes)})"
        raise NetworkError(f"{name}: expected a bit mask of some of {rank} axes, 1 << axis for each, found {found}")
    return tuple(sorted(axes))


def _sequence(value: object) -> list[object] | None:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return None
    return list(value)
