"""Einsum, as transposes, products of matrices and sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.graph.graph import Value
from tensorwright.importers.composer import Composer
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.shape import Slice
from tensorwright.tensor.dim import Dim, product


@dataclass(frozen=True)
class Term:
    """A tensor whose axes have labels, no label twice."""

    value: Value
    labels: tuple[str, ...]

    def extent(self, label: str) -> Dim:
        return self.value.type.shape[self.labels.index(label)]


def einsum(node: Composer, operands: Sequence[Value], equation: str) -> Value:
    """The product of tensors, summed over the labels that the output lacks, as NumPy writes it."""
    terms, output = _parse(node, equation, operands)
    terms = [_without_repeats(node, term) for term in terms]
    result = terms[0]
    for number, term in enumerate(terms[1:], 1):
        later = {label for other in terms[number + 1 :] for label in other.labels}
        result = _contract(node, result, term, later | set(output))
    result = _sum_out(node, result, set(output))
    lacking = [label for label in output if label not in result.labels]
    if lacking:
        node.fail(f"equation '{equation}': output label '{lacking[0]}' is in no operand")
    return node.transpose(result.value, [result.labels.index(label) for label in output])


def _parse(node: Composer, equation: str, operands: Sequence[Value]) -> tuple[list[Term], tuple[str, ...]]:
    left, arrow, right = equation.replace(" ", "").partition("->")
    texts = left.split(",")
    if len(texts) != len(operands):
        node.fail(f"equation '{equation}' has {len(texts)} operands, the node has {len(operands)} inputs")
    terms = [Term(x, _labels(node, equation, text, x.type.rank)) for text, x in zip(texts, operands, strict=True)]
    if arrow:
        widest = max((_dots(term.labels) for term in terms), key=len, default=())
        return terms, _spread(right, widest)
    every = [label for term in terms for label in term.labels]
    dots = max((_dots(term.labels) for term in terms), key=len, default=())
    return terms, (*dots, *sorted({label for label in every if every.count(label) == 1 and label not in dots}))


def _labels(node: Composer, equation: str, text: str, rank: int) -> tuple[str, ...]:
    """One label per axis; the axes of an ellipsis are numbered from the last one back."""
    free = rank - len(text.replace("...", ""))
    if free < 0 or (free > 0 and "..." not in text):
        node.fail(f"equation '{equation}': '{text}' does not fit an operand with {rank} axes")
    return _spread(text, tuple(f"...{count}" for count in range(free, 0, -1)))


def _spread(text: str, dots: Sequence[str]) -> tuple[str, ...]:
    before, ellipsis, after = text.partition("...")
    return (*before, *(dots if ellipsis else ()), *after)


def _dots(labels: Sequence[str]) -> tuple[str, ...]:
    return tuple(label for label in labels if label.startswith("..."))


def _without_repeats(node: Composer, term: Term) -> Term:
    """Diagonals: a label that occurs twice becomes one axis, every (n + 1)-th element of the flattened pair."""
    for label in dict.fromkeys(term.labels):
        while term.labels.count(label) > 1:
            term = _diagonal(node, term, label)
    return term


def _diagonal(node: Composer, term: Term, label: str) -> Term:
    first = term.labels.index(label)
    second = term.labels.index(label, first + 1)
    rest = [axis for axis in range(len(term.labels)) if axis not in (first, second)]
    moved = node.transpose(term.value, [*rest, first, second])
    lead, extent = moved.type.shape[:-2], moved.type.shape[-1]
    if not isinstance(extent, int) or moved.type.shape[-2] != extent:
        node.unsupported(f"a diagonal of {moved.type}")
    flat = node.reshape(moved, (*lead, extent * extent))
    steps = (1,) * len(lead) + (extent + 1,)
    picked = node.apply(Slice((0,) * (len(lead) + 1), (*lead, extent), steps), flat)
    return Term(picked, (*(term.labels[axis] for axis in rest), label))


def _sum_out(node: Composer, term: Term, needed: set[str]) -> Term:
    axes = [axis for axis, label in enumerate(term.labels) if label not in needed]
    if not axes:
        return term
    labels = tuple(label for label in term.labels if label in needed)
    return Term(node.reduce("add", term.value, axes, False), labels)


def _contract(node: Composer, a: Term, b: Term, needed: set[str]) -> Term:
    """One product of two operands, summed over the labels that nothing needs afterwards."""
    a, b = _sum_out(node, a, needed | set(b.labels)), _sum_out(node, b, needed | set(a.labels))
    shared = [label for label in a.labels if label in b.labels]
    batch = [label for label in shared if label in needed]
    summed = [label for label in shared if label not in needed]
    own_a = [label for label in a.labels if label not in shared]
    own_b = [label for label in b.labels if label not in shared]
    for label in summed:
        if a.extent(label) != b.extent(label):
            node.fail(f"label '{label}' has extents {a.extent(label)} and {b.extent(label)}")
    if not summed:
        return _outer(node, a, b, batch, own_a, own_b)
    left = _grouped(node, a, batch, own_a, summed)
    right = _grouped(node, b, batch, summed, own_b)
    result = node.apply(MatMul(False, False), left, right)
    extents = [*result.type.shape[: len(batch)], *map(a.extent, own_a), *map(b.extent, own_b)]
    return Term(node.reshape(result, extents), (*batch, *own_a, *own_b))


def _outer(node: Composer, a: Term, b: Term, batch: list[str], own_a: list[str], own_b: list[str]) -> Term:
    """Nothing is summed: a product of elements, broadcast."""
    left = node.transpose(a.value, [a.labels.index(label) for label in [*batch, *own_a]])
    right = node.transpose(b.value, [b.labels.index(label) for label in [*batch, *own_b]])
    left = node.reshape(left, (*left.type.shape, *[1] * len(own_b)))
    head = right.type.shape[: len(batch)]
    right = node.reshape(right, (*head, *[1] * len(own_a), *right.type.shape[len(batch) :]))
    return Term(node.multiply(left, right), (*batch, *own_a, *own_b))


def _grouped(node: Composer, term: Term, batch: list[str], rows: list[str], columns: list[str]) -> Value:
    moved = node.transpose(term.value, [term.labels.index(label) for label in [*batch, *rows, *columns]])
    count = product(map(term.extent, rows)), product(map(term.extent, columns))
    return node.reshape(moved, (*moved.type.shape[: len(batch)], *count))
