"""A step as the checker sees it: where its operands lie, what each share of its tasks reads and writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tensorwright.graph.graph import Value, is_constant
from tensorwright.plan.plan import Address
from tensorwright.schedule.check.reads import Definition, Mask
from tensorwright.schedule.check.shares import NOBODY, SEVERAL, Owners, Segments, owners_in
from tensorwright.schedule.program import Step
from tensorwright.tensor.arrange import from_layout
from tensorwright.tensor.dim import evaluate
from tensorwright.tensor.layout import Layout, physical_bytes


@dataclass(frozen=True, eq=False)
class Operand:
    """Memory of a step. number: of the region's input; None for the output. elements: in memory, padding included."""

    number: int | None
    value: Value
    layout: Layout
    address: Address
    elements: int

    @property
    def size(self) -> int:
        return self.elements * self.value.type.dtype.size

    @property
    def start(self) -> int:
        return 0 if self.address.base == "binding" else self.address.offset

    def overlaps(self, other: Operand) -> bool:
        """Whether two operands share bytes."""
        if self.address.base != other.address.base:
            return False
        if self.address.base == "binding" and self.address.offset != other.address.offset:
            return False
        return self.start < other.start + other.size and other.start < self.start + self.size

    def __str__(self) -> str:
        where = f"binding {self.address.offset}" if self.address.base == "binding" else f"the {self.address.base}"
        place = f"bytes {self.start} to {self.start + self.size} of {where}"
        return f"'{self.value.name}' ({self.value.type}, {self.layout}, {place})"


@dataclass(frozen=True, eq=False)
class Look:
    """One step with given dimensions.

    written: finds the segment that writes each element; it may run the kernel, and is asked once.
    """

    number: int
    step: Step
    symbols: Mapping[str, int]
    segments: Segments
    written: Callable[[Look], Owners | None]

    @property
    def name(self) -> str:
        return f"step {self.number} '{self.step.choice.name}'"

    @cached_property
    def output(self) -> Operand:
        value, layout = self.step.choice.result
        return self._operand(None, value, layout, self.step.operands[0])

    @cached_property
    def inputs(self) -> tuple[Operand, ...]:
        """The operands that are no constants."""
        region, kernel = self.step.choice.region, self.step.kernel
        placed = zip(region.inputs, kernel.inputs, self.step.operands[1:], strict=True)
        return tuple(self._operand(n, *given) for n, given in enumerate(placed) if not is_constant(given[0]))

    @cached_property
    def is_in_place(self) -> bool:
        return any(operand.overlaps(self.output) for operand in self.inputs)

    @cached_property
    def segment_of(self) -> Owners | None:
        """The segment that writes each element of the output's memory; None if that is unknown."""
        return self.written(self)

    def writers(self, threads: int) -> Owners:
        """The share that writes each element of the output with so many threads."""
        shares = self.segments.shares(threads)
        if self.segment_of is None:
            return self._by_all(self.output, shares)
        return np.asarray([*shares, NOBODY], np.int32)[self.segment_of]

    def readers(self, operand: Operand, threads: int) -> Owners:
        """The share that reads each element of an operand with so many threads.

        A kernel that does not say what its tasks write may read any of it, but for what it may overwrite.
        """
        shares, replaced = self.segments.shares(threads), self._replaces(operand)
        if self.segment_of is None:
            return np.full(operand.elements, NOBODY, np.int32) if replaced else self._by_all(operand, shares)
        if self.step.kernel.writes is None and not replaced:
            return self._by_all(operand, shares)
        assert operand.number is not None
        return owners_in(self._reads[operand.number], shares, operand.elements)

    def misplaced(self) -> Operand | None:
        """An operand that the step overwrites although it may not."""
        wrong = (operand for operand in self.inputs if operand.overlaps(self.output) and not self._replaces(operand))
        return next(wrong, None)

    @cached_property
    def _reads(self) -> dict[int, list[Mask]]:
        assert self.segment_of is not None
        region, kernel = self.step.choice.region, self.step.kernel
        shape = tuple(evaluate(dim, self.symbols) for dim in region.output.type.shape)
        logical = from_layout(self.segment_of, kernel.output, shape)
        masks = [logical == number for number in range(len(self.segments.ranges))]
        definition = Definition.of(region, self.symbols)
        return {o.number: definition.read(o.number, o.layout, masks) for o in self.inputs if o.number is not None}

    def _replaces(self, operand: Operand) -> bool:
        """Whether the output lies exactly over an operand that the kernel may overwrite."""
        placed = operand.address == self.output.address and operand.size == self.output.size
        return placed and operand.number in self.step.kernel.in_place

    def _by_all(self, operand: Operand, shares: Sequence[int]) -> Owners:
        several = len(set(shares)) > 1
        owner = NOBODY if not shares else SEVERAL if several else shares[0]
        return np.full(operand.elements, owner, np.int32)

    def _operand(self, number: int | None, value: Value, layout: Layout, address: Address) -> Operand:
        bytes_ = evaluate(physical_bytes(value.type, layout), self.symbols)
        return Operand(number, value, layout, address, bytes_ // value.type.dtype.size)
