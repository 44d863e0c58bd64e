"""What libraries can do with sums of products: add a bias and a tensor, and one of a few functions at the end."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tensorwright.graph.graph import Value
from tensorwright.graph.region import Region
from tensorwright.ops.activation import Gelu, Relu
from tensorwright.ops.elementwise import Binary
from tensorwright.tensor.type import Shape


@dataclass(frozen=True)
class Finish:
    """bias, residual: inputs of the region, a number for each column and a tensor like the result; activation: "none",
    "relu" or "gelu", the one of the hyperbolic tangent.
    """

    bias: Value | None = None
    residual: Value | None = None
    activation: str = "none"


def finish_of(region: Region, axis: int) -> Finish | None:
    """How a region finishes its anchor's sums; None where that is more than this. axis: of the columns."""
    anchor = region.anchor
    if anchor is None or region.values[0] is not anchor:
        return None
    found, current = Finish(anchor.inputs[2] if len(anchor.inputs) == 3 else None), anchor
    for value in region.values[1:]:
        extended = None if found.activation != "none" else _extended(found, value, current, region, axis)
        if extended is None or value.type != anchor.type:
            return None
        found, current = extended, value
    return found


def operand_number(region: Region, term: Value | None) -> int | None:
    """Which operand of a step a term is, of which 0 is the result; None for no term."""
    return None if term is None else 1 + region.input_number(term)


def _extended(found: Finish, value: Value, current: Value, region: Region, axis: int) -> Finish | None:
    """With one more operator behind, whose operand the result so far is."""
    if isinstance(value.op, Relu | Gelu) and value.inputs == (current,):
        is_relu, is_tanh = isinstance(value.op, Relu), isinstance(value.op, Gelu) and value.op.approximate
        return replace(found, activation="relu" if is_relu else "gelu") if is_relu or is_tanh else None
    others = [operand for operand in value.inputs if operand is not current]
    if not isinstance(value.op, Binary) or value.op.function != "add" or len(others) != 1:
        return None
    (other,) = others
    if other not in region.inputs or other in region.values[0].inputs or other in (found.bias, found.residual):
        return None
    if other.type == current.type:
        return None if found.residual is not None else replace(found, residual=other)
    if _is_column(other.type.shape, current.type.shape, axis) and found.bias is None:
        return replace(found, bias=other)
    return None


def _is_column(shape: Shape, result: Shape, axis: int) -> bool:
    """Whether a shape has the columns' extent along their axis, counted from the end, and one element along others."""
    extents = (1,) * (len(result) - len(shape)) + shape
    return all(
        extent == (result[number] if number - len(result) == axis else 1) for number, extent in enumerate(extents)
    )
