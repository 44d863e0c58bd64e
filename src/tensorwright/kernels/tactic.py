"""What a tactic and a kernel are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import blake2b
from typing import Any, ClassVar, Generic, Protocol, Self, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from tensorwright.base.fork import cached_property
from tensorwright.graph.region import Region
from tensorwright.kernels.slabs import Slabs
from tensorwright.kernels.work import Work, work
from tensorwright.tensor.dim import Dim, Symbol, dims_for, floor_divide, substitute
from tensorwright.tensor.layout import PLAIN, Layout

Array = npt.NDArray[np.generic]

TargetType = TypeVar("TargetType")
OptionsType = TypeVar("OptionsType", bound="TacticOptions")
OptionsType_co = TypeVar("OptionsType_co", bound="TacticOptions", covariant=True)
TUNED = 0.8
"""The share of the roofline that hand-written kernels are assumed to reach."""

NAME = "KERNEL_NAME"
"""Stands for the function's name in the text of a kernel."""


@dataclass(frozen=True)
class TacticOptions:
    """What a tactic chooses beside layouts, in fields that are integers or booleans; this class itself: nothing."""

    def items(self) -> Iterator[tuple[str, int]]:
        """Names and values as they are shown, and kept with measured times; a field at its default is left out."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                yield field.name, int(value)


NO_OPTIONS = TacticOptions()


@dataclass(frozen=True)
class Config(Generic[OptionsType_co]):
    """One point in the space of a tactic: the layout of every input and of the output, and its own options."""

    inputs: tuple[Layout, ...]
    output: Layout
    options: OptionsType_co

    def __repr__(self) -> str:
        layouts = f"{'·'.join(map(repr, self.inputs))}→{self.output}"
        return " ".join([layouts, *(f"{name}={value}" for name, value in self.options.items())])


AnyConfig: TypeAlias = Config[TacticOptions]


@dataclass(frozen=True)
class Packing:
    """How a constant operand is rearranged, once, at build time.

    `name` identifies the rearrangement: equal names on equal weights give equal bytes.
    """

    name: str
    pack: Callable[[Array], Array]


@dataclass(frozen=True)
class Kernel:
    """Code for a region: a function in LLVM IR and what its caller has to provide.

    text: a module that defines ``void @KERNEL_NAME(ptr out, ptr in…, ptr workspace, i64 symbol…, i64 begin, i64 end)``,
    which computes the parallel tasks from `begin` up to, not including, `end`.
    packings: for every input, how it is packed if it is a constant; None leaves it in row-major order.
    tasks: how many tasks there are. workspace: scratch bytes that each share of the tasks needs.
    waves: the tasks come in so many waves, in order and equally many in each; `tasks` is a product with it. All
    threads wait for each other between two waves, and a share has the same tasks of each, and the same workspace: so
    tasks may read what those of waves before wrote to the output, and what their own share left in the workspace.
    alignment: bytes to which tensors are aligned that kernels of its kind read and write.
    in_place: the inputs whose memory the output may share. symbols: the dimensions passed as arguments, or numbers.
    writes: the part of the output's memory that each task writes, whole blocks of channels with their padding; it then
    reads no more of its inputs than the definition of these elements does, whole blocks again. None says nothing.
    """

    text: str
    inputs: tuple[Layout, ...]
    output: Layout
    tasks: Dim
    packings: tuple[Packing | None, ...]
    symbols: tuple[Symbol | int, ...] = ()
    workspace: int = 0
    in_place: tuple[int, ...] = ()
    writes: Slabs | None = None
    waves: Dim = 1
    alignment: int = 1

    @property
    def tasks_of_wave(self) -> Dim:
        """The tasks of each wave."""
        return floor_divide(self.tasks, self.waves)

    def arguments(self, symbols: Mapping[str, int]) -> tuple[int, ...]:
        """What is passed for the dimensions, whose values are given by name."""
        return tuple(one if isinstance(one, int) else symbols[one.name] for one in self.symbols)

    def filled(self, others: Mapping[Symbol, Symbol | int]) -> Self:
        """The same code with numbers, or symbols of the same ranges, in place of symbols."""
        dims = dims_for(others)
        return replace(
            self,
            symbols=tuple(one if isinstance(one, int) else others.get(one, one) for one in self.symbols),
            tasks=substitute(self.tasks, dims),
            waves=substitute(self.waves, dims),
        )

    @cached_property
    def name(self) -> str:
        """A name that is equal for equal code."""
        return "k" + blake2b(self.text.encode(), digest_size=8).hexdigest()

    @property
    def code(self) -> str:
        """The module's text with the function's name filled in."""
        return self.text.replace(NAME, self.name)


class Tactic(ABC, Generic[TargetType, OptionsType]):
    """A way to compute regions on targets of one kind. Pure: it neither compiles nor measures.

    exact: it adds the products of the definition in the type of the sum; False for algorithms that need fewer
        operations and round differently, such as Winograd's and Strassen's.
    spreads: an input that is infinite, NaN or so large that sums of a few such numbers overflow may reach outputs that
        the definition does not compute from it.
    joins: it computes joined regions (`Region.stages`), and no others.
    rounding: the relative error with which it reads factors of float32, 0 if it reads all their digits. It is admitted
        only where users allow it.
    general: the options with which it computes any region, between any layouts; None if it does not. A general tactic
        may not be excluded from a build.
    """

    name: ClassVar[str]
    exact: ClassVar[bool] = True
    spreads: ClassVar[bool] = False
    joins: ClassVar[bool] = False
    rounding: ClassVar[float] = 0.0
    general: ClassVar[TacticOptions | None] = None

    @abstractmethod
    def configs(self, region: Region, target: TargetType) -> Sequence[Config[OptionsType]]:
        """All points of the tactic's space for a region, the most promising first; empty if it does not apply."""

    @abstractmethod
    def emit(self, region: Region, config: Config[OptionsType], target: TargetType) -> Kernel:
        """The kernel at one of these points."""

    def work(self, region: Region, config: Config[OptionsType], target: TargetType) -> Work:
        """What the kernel at a config does."""
        return work(region)

    def efficiency(self, region: Region, config: Config[OptionsType]) -> float:
        """The share of the roofline that the kernel at a config is assumed to reach where nobody measures it."""
        return TUNED


AnyTactic: TypeAlias = Tactic[TargetType, Any]
"""A tactic of which it is not known what its options are: it is given only configs that it offered itself."""


class Offer(Protocol):
    """A tactic for one target: what a search sees of it."""

    @property
    def name(self) -> str: ...

    @property
    def exact(self) -> bool: ...

    @property
    def spreads(self) -> bool: ...

    @property
    def joins(self) -> bool: ...

    @property
    def rounding(self) -> float: ...

    @property
    def general(self) -> TacticOptions | None: ...

    def configs(self, region: Region) -> Sequence[AnyConfig]: ...

    def emit(self, region: Region, config: AnyConfig) -> Kernel: ...

    def work(self, region: Region, config: AnyConfig) -> Work: ...

    def efficiency(self, region: Region, config: AnyConfig) -> float: ...


@dataclass(frozen=True)
class _Bound(Generic[TargetType]):
    tactic: AnyTactic[TargetType]
    target: TargetType

    @property
    def name(self) -> str:
        return self.tactic.name

    @property
    def exact(self) -> bool:
        return self.tactic.exact

    @property
    def spreads(self) -> bool:
        return self.tactic.spreads

    @property
    def joins(self) -> bool:
        return self.tactic.joins

    @property
    def rounding(self) -> float:
        return self.tactic.rounding

    @property
    def general(self) -> TacticOptions | None:
        return self.tactic.general

    def configs(self, region: Region) -> Sequence[AnyConfig]:
        return self.tactic.configs(region, self.target)

    def emit(self, region: Region, config: AnyConfig) -> Kernel:
        return self.tactic.emit(region, config, self.target)

    def work(self, region: Region, config: AnyConfig) -> Work:
        return self.tactic.work(region, config, self.target)

    def efficiency(self, region: Region, config: AnyConfig) -> float:
        return self.tactic.efficiency(region, config)


def offers(tactics: Iterable[AnyTactic[TargetType]], target: TargetType) -> tuple[Offer, ...]:
    """The tactics for one target."""
    return tuple(_Bound(tactic, target) for tactic in tactics)


def pack_channels(block: int, axis: int) -> Packing:
    """Split one axis into blocks that lie innermost, the last one padded with zeros."""

    def pack(array: Array) -> Array:
        extent = array.shape[axis]
        blocks = -(-extent // block)
        padding = [(0, 0)] * array.ndim
        padding[axis] = (0, blocks * block - extent)
        split = np.pad(array, padding).reshape(*array.shape[:axis], blocks, block, *array.shape[axis + 1 :])
        return np.ascontiguousarray(np.moveaxis(split, axis + 1, -1))

    return Packing(f"channels axis={axis} block={block}", pack)


def plain_inputs(region: Region) -> tuple[Layout, ...]:
    """The plain layout for every input."""
    return (PLAIN,) * len(region.inputs)
