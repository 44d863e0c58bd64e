"""What a plan holds, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from tensorwright.tensor.dim import Dim, Symbol
from tensorwright.tensor.type import TensorType

FORMAT_VERSION = 6
WEIGHTS_ALIGNMENT = 4096

Base = Literal["arena", "weights", "binding"]
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True)
class MachineStamp:
    """For which machine a plan's code was generated, and by which version of the package.

    device: the name of what runs the plan; target: what its code was generated for, such as an instruction set;
    features: what that needs beyond the architecture; model: the processor that the plan was tuned on.
    """

    package_version: str
    device: str
    architecture: str
    operating_system: str
    target: str
    features: tuple[str, ...]
    model: str


@dataclass(frozen=True)
class Binding:
    """An input or output of the network, in row-major order, bound to memory by the caller."""

    name: str
    mode: Literal["input", "output"]
    type: TensorType


@dataclass(frozen=True)
class Address:
    """Where an operand starts: in the arena, in the weights, or at a binding, whose number is then the `offset`."""

    base: Base
    offset: int


class Slice(NamedTuple):
    """Memory that a step touches: so many bytes, as an expression over the symbols.

    place: where they start in the arena or in the weights; the number of the binding, all of which they are.
    """

    base: Base
    place: int
    bytes: Dim


class PlanStep(NamedTuple):
    """What the code of one step touches; workspace: bytes of scratch memory that each thread needs for it."""

    writes: tuple[Slice, ...]
    reads: tuple[Slice, ...]
    workspace: int


class IndexUse(NamedTuple):
    """Indices that are data and may be out of range.

    node: what uses them. place: the offset in the arena where the last inference left how far they reach, int64: for
    each of the axes that they are for the complement ``-1 - i`` of the smallest index, then for each the largest; both
    are the least int64 where there are no indices. extents: of these axes. signed: negative ones count from the end.
    """

    node: str
    place: int
    extents: tuple[Dim, ...]
    signed: bool


@dataclass(frozen=True)
class Executable:
    """What a device runs: code in the form that it loads, and the offset in it of what it calls, by name.

    libraries: the versions, by name, of what it calls beside.
    """

    code: bytes = field(repr=False)
    entries: Mapping[str, int]
    libraries: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """A network compiled for one machine.

    executable: what the device of the stamp runs (for the CPU, see `tensorwright.devices.cpu.abi`).
    symbols: the symbolic dimensions, in the order of the native symbol table.
    batch_symbol: the symbol that stands for the implicit batch dimension of the older interface, if any.
    arena_bytes: memory for activations at the largest shapes; workspace_bytes: scratch memory per thread.
    weights: packed constants, to be mapped read-only at an address that is a multiple of `WEIGHTS_ALIGNMENT`.
    tables: offset and size in bytes of the parts of `weights` that an inference reads only here and there, such as the
    rows of an embedding; in order. All else it reads whole.
    steps: the memory that every step touches, in the order in which they run.
    indices: what the runtime looks at after an inference.
    seal: see `tensorwright.plan.seal`; empty until the builder has made it.
    report: what the builder decided and measured, for people and `inspect`; the runtime does not need it.
    profiles: plans of the same network for ranges of their own, with the same weights, of which the runtime picks one
    for every inference; empty where the plan itself is run. A plan with profiles has no entries, steps and indices; its
    symbols' ranges hold those of all profiles, its code is theirs one behind the other, and its report is that of the
    first.
    """

    name: str
    stamp: MachineStamp
    bindings: tuple[Binding, ...]
    symbols: tuple[Symbol, ...]
    batch_symbol: str | None
    executable: Executable
    arena_bytes: int
    workspace_bytes: int
    threads: int
    weights: memoryview = field(repr=False)
    report: Mapping[str, Json] = field(repr=False)
    steps: tuple[PlanStep, ...]
    tables: tuple[tuple[int, int], ...] = ()
    indices: tuple[IndexUse, ...] = ()
    seal: str = ""
    profiles: tuple[Plan, ...] = ()
