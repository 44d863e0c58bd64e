"""Residual sums of images whose channels lie innermost."""

from __future__ import annotations

from tensorwright.graph.graph import Value, apply
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.shape import Transpose
from tensorwright.passes.arithmetic import function_of
from tensorwright.passes.identity import permutation_of
from tensorwright.passes.rewrite import Uses, rewrite_with_uses, rules_pass


@rewrite_with_uses(Binary)
def sum_by_rows(value: Value, uses: Uses) -> Value | None:
    """``x + Transpose(y) = Transpose(Transpose⁻¹(x) + y)`` for a convolution's result x.

    It is as many transposes; but where such sums follow one another, all but the first one see transposes only.
    """
    if function_of(value) != "add":
        return None
    for x, turned in (value.inputs, value.inputs[::-1]):
        if isinstance(x.op, Convolution) and isinstance(turned.op, Transpose) and x.type == turned.type == value.type:
            order = permutation_of(turned)
            if uses.once(turned) and not uses.once(x):
                back = apply(Transpose(tuple(order.index(axis) for axis in range(len(order)))), x, name=turned.name)
                total = apply(value.op, back, turned.inputs[0], name=value.name)
                return apply(Transpose(order), total, name=turned.name)
    return None


sum_rows = rules_pass("sum_rows", [sum_by_rows])
