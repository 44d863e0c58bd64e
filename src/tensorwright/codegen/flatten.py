"""Turns a computation on logical indices into one on addresses in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from tensorwright.graph.expression import (
    Apply,
    Computation,
    IndexValue,
    Load,
    Reduce,
    Scalar,
    Variable,
    all_of,
    compare,
    depends,
    free_atoms,
    rename,
    rename_reductions,
    transform,
    walk,
)
from tensorwright.tensor.dim import Atom, Dim, IntegerExpression, Remainder, coefficient_of, expression, substitute
from tensorwright.tensor.layout import Layout
from tensorwright.tensor.type import Shape, TensorType


class Addressing(Protocol):
    """Says where the elements of an operand are, as layouts do."""

    def address(self, shape: Shape, index: Sequence[Dim]) -> Dim:
        """The distance in elements from the start of the operand to the element at a logical index."""
        ...


@dataclass(frozen=True)
class FlatComputation:
    """A computation whose loads have one index, the distance in elements from the start of the operand.

    variables: loop variables in memory order of the output, outermost first; address: where the output element goes.
    """

    variables: tuple[Variable, ...]
    address: Dim
    body: Scalar


def flatten(
    computation: Computation,
    operands: Sequence[tuple[TensorType, Addressing]],
    output: tuple[TensorType, Layout],
    *,
    collapse: bool = True,
) -> FlatComputation:
    """The computation with layouts applied, in the fewest loops that keep every access linear.

    With `collapse` false there is one variable for every physical axis of the output.
    """
    output_type, output_layout = output
    computation = unique_names(computation)
    variables, logical = _physical_variables(computation, output_layout)
    body = rename(computation.body, dict(zip(computation.variables, logical, strict=True)))
    body = transform(body, lambda index: index, _flat_load(operands, output_type, logical, output_layout))
    address = output_layout.address(output_type.shape, logical)
    flat = FlatComputation(variables, address, body)
    return _collapse(_blocks_apart(flat)) if collapse else flat


def unique_names(computation: Computation) -> Computation:
    """The computation with output variables named o0, o1, … and reduction variables r0, r1, …"""
    found: dict[Variable, Variable] = {}
    for node in walk(computation.body):
        if isinstance(node, Reduce):
            for variable in node.variables:
                found.setdefault(variable, Variable(f"r{len(found)}", variable.extent))
    body = rename_reductions(computation.body, found.__getitem__)
    outputs = tuple(Variable(f"o{axis}", v.extent) for axis, v in enumerate(computation.variables))
    renamed: dict[Atom, Dim] = {old: expression(new) for old, new in zip(computation.variables, outputs, strict=True)}
    return Computation(outputs, rename(body, renamed))


def _physical_variables(computation: Computation, layout: Layout) -> tuple[tuple[Variable, ...], tuple[Dim, ...]]:
    extents = layout.physical_shape(tuple(v.extent for v in computation.variables))
    variables = tuple(Variable(f"p{axis}", extent) for axis, extent in enumerate(extents))
    return variables, layout.logical_index([_index_of(v) for v in variables])


def _index_of(variable: Variable) -> Dim:
    return 0 if variable.extent == 1 else expression(variable)


def _flat_load(
    operands: Sequence[tuple[TensorType, Addressing]], output: TensorType, logical: Sequence[Dim], layout: Layout
) -> Callable[[Load], Scalar]:
    """Loads by address; lanes beyond the output's channels read nothing but an operand's lanes of the same number."""
    padded = not layout.is_plain and output.shape[1] % layout.block != 0
    channel = logical[1] if padded else 0
    valid = compare("less", channel, output.shape[1]) if padded else None

    def flat(load: Load) -> Scalar:
        type, own = operands[load.operand]
        address = own.address(type.shape, load.index)
        guard = load.guard
        if valid is not None and not is_beside(load, type, own):
            guard = valid if guard is None else all_of([guard, valid])
        return replace(load, index=(address,), guard=guard)

    def is_beside(load: Load, type: TensorType, own: Addressing) -> bool:
        """Whether the lanes beyond the channels read an operand's lanes of the same number at most."""
        same = own == layout and type.shape[1] == output.shape[1] and load.index[1] == channel
        others = [index for axis, index in enumerate(load.index) if not (same and axis == 1)]
        return not any(_mention(index, channel) for index in others)

    return flat


def _mention(index: Dim, channel: Dim) -> bool:
    return bool(free_atoms(index) & free_atoms(channel))


def _collapse(flat: FlatComputation) -> FlatComputation:
    """Merge neighbouring loops, of the output or of a reduction, wherever every address steps through both evenly."""
    while (pair := _mergeable_outputs(flat)) is not None:
        flat = _merge_outputs(flat, *pair)
    return replace(flat, body=_collapse_reductions(flat.body))


def _blocks_apart(flat: FlatComputation) -> FlatComputation:
    """Two loops, over blocks and inside them, for a variable that is a channel of a blocked operand."""
    for variable in flat.variables:
        for node in walk(flat.body):
            address = node.index[0] if isinstance(node, Load) else 0
            sizes = [_block_size(atom, variable) for atom in address.atoms] if not isinstance(address, int) else []
            size = next((found for found in sizes if found is not None), None)
            if size is not None:
                return _blocks_apart(_cut(flat, variable, size))
    return flat


def _block_size(atom: Atom, variable: Variable) -> int | None:
    """The size of the blocks of a variable, a multiple of them, if the atom is its position in one."""
    match atom:
        case Remainder(numerator=numerator, denominator=int(size)) if numerator == expression(variable):
            whole = isinstance(variable.extent, int) and variable.extent % size == 0 and variable.extent > size
            return size if whole else None
    return None


def _cut(flat: FlatComputation, variable: Variable, size: int) -> FlatComputation:
    block, inside = Variable(f"{variable.name}b", variable.extent // size), Variable(f"{variable.name}i", size)
    moved: dict[Atom, Dim] = {variable: expression(block) * size + expression(inside)}
    position = flat.variables.index(variable)
    variables = (*flat.variables[:position], block, inside, *flat.variables[position + 1 :])
    return FlatComputation(variables, substitute(flat.address, moved), rename(flat.body, moved))


def collapse_leading(flat: FlatComputation) -> FlatComputation:
    """Merge neighbouring loops, except the innermost one, wherever every address steps through both evenly."""
    merged = True
    while merged:
        merged = False
        for outer, inner in zip(flat.variables, flat.variables[1:-1], strict=False):
            if _steps_evenly([flat.address], flat.body, outer, inner):
                flat, merged = _merge_outputs(flat, outer, inner), True
                break
    return flat


def _mergeable_outputs(flat: FlatComputation) -> tuple[Variable, Variable] | None:
    for outer, inner in zip(flat.variables, flat.variables[1:], strict=False):
        if _steps_evenly([flat.address], flat.body, outer, inner) and not _separates(flat.body, outer, inner):
            return outer, inner
    return None


def _separates(body: Scalar, outer: Variable, inner: Variable) -> bool:
    """Whether some reduction depends on one of two variables only, so that it can be done once for the other."""
    return any(
        depends_on_scalar(node, outer) != depends_on_scalar(node, inner)
        for node in walk(body)
        if isinstance(node, Reduce)
    )


def depends_on_scalar(scalar: Scalar, variable: Variable) -> bool:
    return any(variable in free_atoms(index) for index in _indices(scalar))


def _indices(scalar: Scalar) -> list[Dim]:
    found: list[Dim] = []
    for node in walk(scalar):
        if isinstance(node, Load):
            found.extend(node.index)
        elif isinstance(node, IndexValue):
            found.append(node.index)
    return found


def _steps_evenly(addresses: list[Dim], body: Scalar, outer: Variable, inner: Variable) -> bool:
    for node in walk(body):
        if isinstance(node, IndexValue) and (depends(node.index, outer) or depends(node.index, inner)):
            return False
        if isinstance(node, Load):
            addresses = [*addresses, *node.index]
    for address in addresses:
        inner_step, outer_step = coefficient_of(address, inner), coefficient_of(address, outer)
        if inner_step is None or outer_step is None or outer_step != inner_step * inner.extent:
            return False
        if _inside_data_index(address, outer) or _inside_data_index(address, inner):
            return False
    return True


def _inside_data_index(address: Dim, variable: Variable) -> bool:
    if coefficient_of(address, variable) is None:
        return True
    atoms = address.atoms if isinstance(address, IntegerExpression) else ()
    return any(depends(atom, variable) for atom in atoms if atom != variable)


def _merge_outputs(flat: FlatComputation, outer: Variable, inner: Variable) -> FlatComputation:
    merged = Variable(outer.name, outer.extent * inner.extent)
    replacements: dict[Atom, Dim] = {outer: 0, inner: expression(merged)}
    position = flat.variables.index(outer)
    variables = (*flat.variables[:position], merged, *flat.variables[position + 2 :])
    return FlatComputation(variables, substitute(flat.address, replacements), rename(flat.body, replacements))


def _collapse_reductions(body: Scalar) -> Scalar:
    done: dict[int, Scalar] = {}

    def visit(node: Scalar) -> Scalar:
        if id(node) not in done:
            done[id(node)] = rebuilt(node)
        return done[id(node)]

    def rebuilt(node: Scalar) -> Scalar:
        if isinstance(node, Apply):
            return replace(node, operands=tuple(visit(operand) for operand in node.operands))
        if not isinstance(node, Reduce):
            return node
        node = replace(node, body=visit(node.body))
        merged = True
        while merged:
            merged = False
            for outer, inner in zip(node.variables, node.variables[1:], strict=False):
                if _steps_evenly([], node.body, outer, inner) and not _separates(node.body, outer, inner):
                    node, merged = _merge_reduction(node, outer, inner), True
                    break
        return node

    return visit(body)


def _merge_reduction(node: Reduce, outer: Variable, inner: Variable) -> Reduce:
    merged = Variable(outer.name, outer.extent * inner.extent)
    position = node.variables.index(outer)
    variables = (*node.variables[:position], merged, *node.variables[position + 2 :])
    return replace(node, variables=variables, body=rename(node.body, {outer: 0, inner: expression(merged)}))
