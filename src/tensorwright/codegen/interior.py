"""Where guards always hold: the interior of an output, computed without testing for padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tensorwright.graph.expression import Apply, IndexValue, Load, Scalar, Variable, all_of, rename, transform, walk
from tensorwright.tensor.dim import Atom, Dim, bounds, coefficient_of, expression


@dataclass(frozen=True)
class Range:
    """Values of a loop variable from `start` up to, not including, `stop`."""

    variable: Variable
    start: int
    stop: int

    @property
    def inner(self) -> Variable:
        """A variable that runs over the range, from 0."""
        return Variable(f"{self.variable.name}in", self.stop - self.start)

    @property
    def replacement(self) -> dict[Atom, Dim]:
        """The variable in terms of the inner one."""
        return {self.variable: expression(self.inner) + self.start}


def interior_of(body: Scalar, variable: Variable) -> Range | None:
    """The values of a loop variable for which guards hold that do not hold for all of its values.

    Guards that depend on other loops as well count if they hold for all values of those.
    """
    if not isinstance(variable.extent, int):
        return None
    start, stop = 0, variable.extent
    for surplus in _surpluses(body):
        slope = coefficient_of(surplus, variable)
        if not isinstance(slope, int) or slope == 0 or bounds(surplus)[0] >= 0:
            continue
        least = bounds(surplus - slope * expression(variable))[0]
        low, high = (-(least // slope), stop) if slope > 0 else (start, least // -slope + 1)
        if max(start, low) < min(stop, high):
            start, stop = max(start, low), min(stop, high)
    return None if (start, stop) == (0, variable.extent) else Range(variable, start, stop)


def inside(body: Scalar, place: Range) -> Scalar:
    """The body for values in a range, in terms of the inner variable, without the guards that hold there."""
    return transform(rename(body, place.replacement), lambda index: index, _without_certain_guards)


def _without_certain_guards(load: Load) -> Scalar:
    if load.guard is None:
        return load
    needed = [part for part in _conjuncts(load.guard) if not _is_certain(part)]
    return replace(load, guard=all_of(needed))


def _is_certain(condition: Scalar) -> bool:
    surplus = _surplus(condition)
    return surplus is not None and bounds(surplus)[0] >= 0


def _surpluses(body: Scalar) -> Iterator[Dim]:
    """For every condition on indices among the guards, what is not negative where it holds."""
    for node in walk(body):
        if isinstance(node, Load) and node.guard is not None:
            for part in _conjuncts(node.guard):
                surplus = _surplus(part)
                if surplus is not None:
                    yield surplus


def _conjuncts(guard: Scalar) -> Sequence[Scalar]:
    if isinstance(guard, Apply) and guard.function == "and":
        return [part for operand in guard.operands for part in _conjuncts(operand)]
    return [guard]


def _surplus(condition: Scalar) -> Dim | None:
    match condition:
        case Apply(function="less_equal", operands=(IndexValue(index=left), IndexValue(index=right))):
            return right - left
        case Apply(function="less", operands=(IndexValue(index=left), IndexValue(index=right))):
            return right - left - 1
    return None
