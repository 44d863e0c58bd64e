"""Matrix products: transposes, reshapes and scales of their operands."""

from __future__ import annotations

from tensorwright.graph.graph import Value, apply, is_constant
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.shape import Reshape, Transpose
from tensorwright.passes.arithmetic import function_of
from tensorwright.passes.constants import along, exact, finite_constant
from tensorwright.passes.identity import permutation_of
from tensorwright.passes.rewrite import Uses, joined_name, rewrite, rewrite_with_uses, rules_pass


@rewrite_with_uses(MatMul)
def transposed_operand(value: Value, uses: Uses) -> Value | None:
    """``a · Transpose(b) = MatMul(a, b, transpose_b)``, likewise a, where the transpose swaps the last two axes.

    Of a transpose that also moves other axes the part that is left keeps the innermost axis in place.
    """
    op = value.op
    assert isinstance(op, MatMul)
    for number, operand in enumerate(value.inputs):
        if not isinstance(operand.op, Transpose):
            continue
        *lead, row, column = permutation_of(operand)
        rest = (*lead, column, row)
        in_order = rest == tuple(range(len(rest)))
        moves = column != len(rest) - 1 and row == len(rest) - 1
        if not moves or not (in_order or uses.once(operand)) or (number == 0 and not _strided_rows_fit(value)):
            continue
        (x,) = operand.inputs
        turned = x if in_order else apply(Transpose(rest), x, name=operand.name)
        flags = [op.transpose_a, op.transpose_b]
        flags[number] = not flags[number]
        inputs = [*value.inputs[:number], turned, *value.inputs[number + 1 :]]
        return apply(MatMul(*flags), *inputs, name=joined_name(operand, value) if in_order else value.name)
    return None


def _strided_rows_fit(value: Value) -> bool:
    """Whether a transposed left operand is no loss: batches of one matrix are else computed as one tall matrix."""
    a, b = value.inputs
    return not is_constant(b) or all(extent == 1 for extent in a.type.shape[:-2])


@rewrite(MatMul)
def reshaped_rows(value: Value) -> Value | None:
    """``Reshape(x) · w = Reshape(x · w)`` where w is one matrix and the reshape regroups rows only."""
    rows, matrix = value.inputs
    op = value.op
    assert isinstance(op, MatMul)
    if not isinstance(rows.op, Reshape) or op.transpose_a or matrix.type.rank != 2:
        return None
    (x,) = rows.inputs
    columns = x.type.shape[-1] if x.type.rank > 1 else 0
    if columns != rows.type.shape[-1] or columns == 0:  # Rows of nothing may be any number.
        return None
    return apply(Reshape(value.type.shape), apply(op, x, matrix, name=value.name), name=value.name)


@rewrite_with_uses(Binary)
def scaled_columns(value: Value, uses: Uses) -> Value | None:
    """``(x · w) ∗ a = x · (w ∗ a)`` for a constant w and one constant a per column."""
    product, constant = value.inputs
    if function_of(value) != "mul" or not isinstance(product.op, MatMul) or not uses.once(product):
        return None
    x, weights = product.inputs
    factor = along(constant, value.type.shape, value.type.rank - 1)
    if factor is None or not is_constant(weights) or product.type != value.type:
        return None
    scaled = exact(weights) * (factor[:, None] if product.op.transpose_b else factor)
    folded = finite_constant(scaled, value.type.dtype, weights.name)
    return None if folded is None else apply(product.op, x, folded, name=joined_name(product, value))


@rewrite_with_uses(MatMul)
def scaled_depth(value: Value, uses: Uses) -> Value | None:
    """``(x ∗ a) · w = x · (a ∗ w)`` for a constant w and one constant a per row of w."""
    scaled, weights = value.inputs
    op = value.op
    assert isinstance(op, MatMul)
    if function_of(scaled) != "mul" or not uses.once(scaled) or not is_constant(weights):
        return None
    x, constant = scaled.inputs
    factor = along(constant, scaled.type.shape, scaled.type.rank - (2 if op.transpose_a else 1))
    if factor is None or x.type != scaled.type:
        return None
    array = exact(weights) * (factor if op.transpose_b else factor[:, None])
    folded = finite_constant(array, value.type.dtype, weights.name)
    return None if folded is None else apply(op, x, folded, name=joined_name(scaled, value))


RULES = (transposed_operand, reshaped_rows, scaled_columns, scaled_depth)
simplify_products = rules_pass("simplify_products", RULES)
