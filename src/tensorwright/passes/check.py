"""Finds the rewrite that changes what a network computes: computes with random inputs before and after each pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tensorwright.base.errors import BuildError
from tensorwright.base.text import printable
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph
from tensorwright.graph.op import Array
from tensorwright.graph.text import names_of, value_text
from tensorwright.passes.change import Change, Rewritten
from tensorwright.tensor.dim import evaluate

Floats = npt.NDArray[np.float64]

TOLERANCE = 1e-4
"""Difference of an output, relative to its largest magnitude, that rounding explains."""

SEED = 0


@dataclass
class Comparison:
    """An observer that computes one network before and after each pass, by the operators' references.

    Inputs are normally distributed floats, and integers and truth values of 0 and 1; symbols take their `opt`.
    known: the last graph and its results, which the next pass starts from.
    """

    known: tuple[Graph, Mapping[str, Array]] | None = None

    def __call__(self, change: Change) -> None:
        """Compare.

        Raises:
            BuildError: outputs differ by more than rounding; names the pass and the first rewrite that is to blame.
        """
        inputs = _Inputs(_drawn(change.before), {s.name: s.opt for s in change.before.symbols()})
        expected = self._expected(change, inputs)
        found = inputs.computed(change.after)
        wrong = found if isinstance(found, str) else difference(expected, found)
        if wrong:
            raise BuildError(_accusation(change, wrong, _first_wrong(change, inputs, expected)))
        assert not isinstance(found, str)
        self.known = change.after, found

    def _expected(self, change: Change, inputs: _Inputs) -> Mapping[str, Array]:
        if self.known is not None and self.known[0] is change.before:
            return self.known[1]
        found = inputs.computed(change.before)
        if isinstance(found, str):
            raise BuildError(f"pass {change.step.name} cannot be checked: the results before it {printable(found)}")
        return found


def _accusation(change: Change, difference: str, wrong: Rewritten) -> str:
    names = names_of([*wrong.before.inputs, wrong.before, *wrong.after.inputs, wrong.after])
    return (
        f"pass {change.step.name}, round {change.round}, changed the results: {printable(difference)}; the first wrong "
        f"rewrite is number {wrong.number}, {wrong.rule}, of\n  {value_text(wrong.before, names)}\ninto\n"
        f"  {value_text(wrong.after, names)}"
    )


def _drawn(graph: Graph) -> dict[str, Array]:
    rng = np.random.default_rng(SEED)
    symbols = {symbol.name: symbol.opt for symbol in graph.symbols()}
    arrays: dict[str, Array] = {}
    for name, value in graph.inputs:
        shape, dtype = tuple(evaluate(dim, symbols) for dim in value.type.shape), value.type.dtype
        drawn = rng.standard_normal(shape) if dtype.is_float else rng.integers(0, 2, shape)
        arrays[name] = np.asarray(drawn).astype(dtype.numpy)
    return arrays


@dataclass(frozen=True)
class _Inputs:
    """Arrays for the inputs of a network, and values for its symbols."""

    arrays: Mapping[str, Array]
    symbols: Mapping[str, int]

    def computed(self, graph: Graph) -> dict[str, Array] | str:
        """The outputs of a graph, or why it has none."""
        try:
            return evaluate_graph(graph, self.arrays, self.symbols)
        except Exception as error:  # noqa: BLE001 - A wrong rewrite may break anything; it is named in the error.
            return f"can not be computed ({type(error).__name__}: {error})"

    def agree(self, expected: Mapping[str, Array], graph: Graph) -> bool:
        """Whether a graph has the results that are expected."""
        found = self.computed(graph)
        return not isinstance(found, str) and not difference(expected, found)


def difference(expected: Mapping[str, Array], actual: Mapping[str, Array]) -> str:
    """How the first output that differs by more than rounding does so; empty if none does."""
    for name, wanted in expected.items():
        found = actual[name]
        if wanted.dtype.kind in "biu":
            count = int(np.count_nonzero(wanted != found))
            if count:
                return f"output '{name}' differs in {count} of {wanted.size} elements"
            continue
        error = _error(wanted.astype(np.float64), found.astype(np.float64))
        if not error <= TOLERANCE:
            return f"output '{name}' differs by {error:.2g} of its largest magnitude"
    return ""


def _error(wanted: Floats, found: Floats) -> float:
    """The largest difference relative to the largest magnitude; infinite where infinities and NaN differ."""
    finite = np.isfinite(wanted)
    if not np.array_equal(wanted[~finite], found[~finite], equal_nan=True) or not np.isfinite(found[finite]).all():
        return float("inf")
    right, given = wanted[finite], found[finite]
    largest = max(float(np.abs(right).max(initial=0.0)), 1e-30)
    return float(np.abs(given - right).max(initial=0.0)) / largest


def _first_wrong(change: Change, inputs: _Inputs, expected: Mapping[str, Array]) -> Rewritten:
    """The rewrite up to which results are right and after which they are wrong, by halving."""
    right, wrong = 0, len(change.rewrites)
    while wrong - right > 1:
        middle = (right + wrong) // 2
        if inputs.agree(expected, change.up_to(middle)):
            right = middle
        else:
            wrong = middle
    return change.rewrites[wrong - 1]
