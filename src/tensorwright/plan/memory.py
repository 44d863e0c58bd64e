"""Whether the memory that the steps of a plan touch is there, whatever sizes an inference has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from tensorwright.plan.fields import Refusal, refuse
from tensorwright.plan.limits import MAX_CORNERS
from tensorwright.plan.plan import Binding, IndexUse, PlanStep, Slice
from tensorwright.tensor.dim import Dim, Symbol, evaluate, symbols_of, upper_bound

RANGE_BYTES = 16
"""Two integers for each axis that indices are for."""
ALIGNMENT = 8


@dataclass(frozen=True)
class Memory:
    """All memory of an inference: see the fields of `Plan`."""

    bindings: Sequence[Binding]
    arena_bytes: int
    workspace_bytes: int
    weights_bytes: int


def require_memory(memory: Memory, steps: Sequence[PlanStep]) -> None:
    """Refuse steps that touch what is not there.

    Slices of arena and weights lie within them at the largest sizes, by interval arithmetic. Slices of bindings are
    exactly as large as the binding's type says: as expressions, or else where every symbol has its smallest or largest
    value. Inputs are not written, outputs that have elements are.

    Raises:
        Refusal: it says which step touches what.
    """
    sizes = [binding.type.elements * binding.type.dtype.size for binding in memory.bindings]
    known: set[tuple[Slice, bool]] = set()
    written: set[int] = set()
    for number, step in enumerate(steps):
        if step.workspace > memory.workspace_bytes:
            refuse(f"steps[{number}].workspace", f"at most the plan's {memory.workspace_bytes} bytes", step.workspace)
        for name, slices, writes in (("writes", step.writes, True), ("reads", step.reads, False)):
            for part in slices:
                if (part, writes) not in known:
                    known.add((part, writes))
                    _require_slice(memory, sizes, part, f"steps[{number}].{name}", writes=writes)
        written.update(part.place for part in step.writes if part.base == "binding")
    for number, binding in enumerate(memory.bindings):
        if binding.mode == "output" and number not in written and not binding.type.is_empty:
            raise Refusal(f"bindings[{number}]: expected that some step writes the output '{binding.name}', none does")


def require_ranges(indices: Sequence[IndexUse], arena_bytes: int) -> None:
    """Refuse ranges of indices that lie outside the arena. Raises Refusal."""
    for number, use in enumerate(indices):
        end = use.place + RANGE_BYTES * len(use.extents)
        if end > arena_bytes or use.place % ALIGNMENT:
            refuse(
                f"indices[{number}]",
                f"a part of the {arena_bytes} bytes of the arena that starts at a multiple of {ALIGNMENT}",
                f"bytes {use.place} to {end}",
            )


def _require_slice(memory: Memory, sizes: Sequence[Dim], part: Slice, where: str, *, writes: bool) -> None:
    if part.base == "binding":
        _require_binding(memory, sizes, part, where, writes=writes)
        return
    held = memory.arena_bytes if part.base == "arena" else memory.weights_bytes
    end = part.place + upper_bound(part.bytes)
    if part.place < 0 or end > held:
        refuse(where, f"a part of the {held} bytes of the {part.base}", f"bytes {part.place} to {end}")
    if writes and part.base == "weights":
        refuse(where, "that weights are only read", part)


def _require_binding(memory: Memory, sizes: Sequence[Dim], part: Slice, where: str, *, writes: bool) -> None:
    if not 0 <= part.place < len(sizes):
        refuse(where, f"a binding from 0 to {len(sizes) - 1}", part.place)
    binding = memory.bindings[part.place]
    if writes and binding.mode == "input":
        refuse(where, "that inputs are only read", f"input '{binding.name}'")
    if not _always_equal(part.bytes, sizes[part.place]):
        refuse(where, f"{part.bytes} bytes as the code uses them", f"{binding.mode} '{binding.name}' of {binding.type}")


def _always_equal(left: Dim, right: Dim) -> bool:
    if left == right:
        return True
    symbols = sorted({*symbols_of(left), *symbols_of(right)}, key=lambda symbol: symbol.name)
    return all(evaluate(left, values) == evaluate(right, values) for values in _corners(symbols))


def _corners(symbols: Sequence[Symbol]) -> list[Mapping[str, int]]:
    """Every symbol at its smallest or largest value: in all combinations if they are few, else all alike."""
    ranges = [(symbol.min, symbol.max) for symbol in symbols]
    chosen = list(product(*ranges)) if len(symbols) <= MAX_CORNERS else list(zip(*ranges, strict=True))
    return [{symbol.name: value for symbol, value in zip(symbols, values, strict=True)} for values in chosen]
