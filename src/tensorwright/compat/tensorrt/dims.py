"""Dimensions: tuples whose extents have names."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import ClassVar, Self, SupportsIndex

from tensorwright.base.errors import ShapeError

Extent = SupportsIndex | Iterable[SupportsIndex]


class Dims(tuple[int, ...]):
    """Extents, given one by one or as a sequence. The number of dimensions of a subclass is fixed."""

    __slots__ = ()
    letters: ClassVar[str] = ""

    def __new__(cls, *extents: Extent) -> Self:
        """Extents as arguments or as one sequence."""
        first = extents[0] if len(extents) == 1 else extents
        values = tuple(int(one) for one in (first if isinstance(first, Iterable) else extents))  # type: ignore[arg-type]
        if cls.letters and len(values) != len(cls.letters):
            raise ShapeError(f"{cls.__name__}: expected {len(cls.letters)} extents, found {values}")
        return super().__new__(cls, values)

    @property
    def nbDims(self) -> int:
        """How many dimensions there are."""
        return len(self)

    @property
    def d(self) -> tuple[int, ...]:
        """The extents."""
        return tuple(self)

    def N(self) -> int:
        """The batch."""
        return self._extent("N")

    def C(self) -> int:
        """The channels."""
        return self._extent("C")

    def H(self) -> int:
        """The height."""
        return self._extent("H")

    def W(self) -> int:
        """The width."""
        return self._extent("W")

    def volume(self) -> int:
        """The product of all extents."""
        return prod(self)

    def to_DimsHW(self) -> DimsHW:
        """Height and width."""
        return DimsHW(self._with(2))

    def to_DimsCHW(self) -> DimsCHW:
        """Channels, height and width; what is missing is 1: a vector becomes that many channels."""
        return DimsCHW(self._with(3))

    def to_DimsNCHW(self) -> DimsNCHW:
        """Batch, channels, height and width; three dimensions become a batch of 1."""
        return DimsNCHW((1, *self) if len(self) == 3 else self._with(4))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(str, self))})"

    def _extent(self, letter: str) -> int:
        letters = self.letters or "NCHW"[4 - len(self) :]
        if letter not in letters or len(letters) != len(self):
            raise ShapeError(f"{self!r} has no {letter}; convert it with to_DimsCHW() or another of these methods")
        return self[letters.index(letter)]

    def _with(self, rank: int) -> tuple[int, ...]:
        extra = len(self) - rank
        if any(extent != 1 for extent in self[: max(extra, 0)]):
            raise ShapeError(f"{self!r} has more than {rank} dimensions; use its extents by number")
        return (*self[max(extra, 0) :], *(1,) * -extra)


class DimsHW(Dims):
    """Height and width."""

    __slots__ = ()
    letters = "HW"


class DimsCHW(Dims):
    """Channels, height and width."""

    __slots__ = ()
    letters = "CHW"


class DimsNCHW(Dims):
    """Batch, channels, height and width."""

    __slots__ = ()
    letters = "NCHW"


class Dims2(Dims):
    """Two dimensions."""

    __slots__ = ()
    letters = "HW"


class Dims3(Dims):
    """Three dimensions."""

    __slots__ = ()
    letters = "CHW"


class Dims4(Dims):
    """Four dimensions."""

    __slots__ = ()
    letters = "NCHW"


class DimsExprs(Dims):
    """Dimensions of plugins."""

    __slots__ = ()


class Permutation(Dims):
    """An order of axes."""

    __slots__ = ()


def volume(shape: Iterable[int]) -> int:
    """The product of extents."""
    return prod(shape)
