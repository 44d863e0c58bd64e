"""Products whose right factor repeats matrices for groups of heads: grouped queries. The repeats are not made.

Letters: H heads of the left factor, G of the right one before it is repeated, R = H / G times each; S rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.graph.graph import Value, apply
from tensorwright.ops.elementwise import Binary, Cast, ReplaceNan, Select, Unary
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.shape import Expand, Reshape, Tile
from tensorwright.passes.rewrite import joined_name, rewrite, rules_pass
from tensorwright.tensor.dim import Dim
from tensorwright.tensor.type import Shape

_POINTWISE = (Binary, Cast, ReplaceNan, Select, Unary)


@dataclass(frozen=True)
class _Groups:
    """lead: the extents before the heads, which G heads are followed by in the smaller tensors; rows: S."""

    lead: Shape
    groups: int
    repeats: int
    rows: Dim

    @property
    def before(self) -> Shape:
        """The axes of tensors for all heads but the last one."""
        return (*self.lead, self.groups * self.repeats, self.rows)

    @property
    def after(self) -> Shape:
        """The same with the rows of R heads one below the other."""
        return (*self.lead, self.groups, self.rows * self.repeats)


@rewrite(MatMul)
def grouped_product(value: Value) -> Value | None:
    """``a · Repeat(b) = Reshape(Reshape(a) · b)``: the rows of the R left matrices that meet one right matrix are the
    rows of one left matrix. What leads from another such product to a is computed in that shape, too.
    """
    left, right = value.inputs
    op = value.op
    assert isinstance(op, MatMul)
    found = _unrepeated(right)
    if found is None or op.transpose_a or left.type.rank != right.type.rank:
        return None
    matrices, repeats = found
    *lead, heads, rows, _ = left.type.shape
    *other, groups, _, _ = matrices.type.shape
    if lead != other or not isinstance(groups, int) or heads != groups * repeats:
        return None
    form = _Groups(tuple(lead), groups, repeats, rows)
    made = apply(op, _regrouped(left, form), matrices, name=joined_name(right, value))
    return apply(Reshape(value.type.shape), made, name=value.name)


RULES = (grouped_product,)
group_products = rules_pass("group_products", RULES)


def _unrepeated(value: Value) -> tuple[Value, int] | None:
    """Matrices ``[*, G, M, N]`` each of which a value ``[*, G · R, M, N]`` has R times in a row; and R."""
    if not isinstance(value.op, Reshape) or not isinstance(value.inputs[0].op, Expand | Tile):
        return None
    (wide,) = value.inputs
    (source,) = wide.inputs
    *lead, groups, single, rows, columns = source.type.shape if source.type.rank >= 4 else (0, 0, 0, 0)
    repeats = wide.type.shape[-3] if wide.type.rank == source.type.rank else 0
    if single != 1 or not isinstance(repeats, int) or not isinstance(groups, int) or repeats < 2:
        return None
    if wide.type.shape != (*lead, groups, repeats, rows, columns):
        return None
    if value.type.shape != (*lead, groups * repeats, rows, columns):
        return None
    return apply(Reshape((*lead, groups, rows, columns)), source, name=source.name), repeats


def _regrouped(value: Value, form: _Groups) -> Value:
    """A value for all heads with the rows of R heads one below the other."""
    chain = _chain(value, form)
    if chain is None:
        return _reshaped(value, form)
    (start,) = chain[0].inputs
    made: dict[Value, Value] = {chain[0]: start}
    for link in chain[1:]:
        operands = [made[operand] if operand in made else _side(operand, form) for operand in link.inputs]
        made[link] = apply(link.op, *operands, name=link.name)
    return made[value]


def _chain(value: Value, form: _Groups) -> list[Value] | None:
    """The values from the reshape behind another grouped product to this one, each of which reads the one before."""
    chain = [value]
    while True:
        link = chain[-1]
        if link.type.shape[:-1] != form.before:
            return None
        if isinstance(link.op, Reshape) and link.inputs[0].type.shape == (*form.after, link.type.shape[-1]):
            return chain[::-1] if isinstance(link.inputs[0].op, MatMul) else None
        if not _is_pointwise(link):
            return None
        onward = [operand for operand in link.inputs if operand.type.shape == link.type.shape and operand.inputs]
        if len(set(onward)) != 1 or not all(o is onward[0] or _fits(o.type.shape, form) for o in link.inputs):
            return None
        chain.append(onward[0])


def _is_pointwise(value: Value) -> bool:
    """Whether rows of a value follow from the same rows of its operands alone, wherever they are."""
    if isinstance(value.op, Softmax):
        return value.op.axis == value.type.rank - 1
    return isinstance(value.op, _POINTWISE)


def _fits(shape: Shape, form: _Groups) -> bool:
    """Whether a tensor broadcasts to all heads and rows as `_side` expects."""
    *lead, heads, rows, _ = _padded(shape, len(form.before) + 1)
    wanted = zip(lead, form.lead, strict=True)
    return all(a in (1, b) for a, b in wanted) and heads in (1, form.before[-2]) and rows in (1, form.rows)


def _side(value: Value, form: _Groups) -> Value:
    """Another operand, such as a mask, with its rows repeated as far as they differ."""
    *lead, heads, rows, last = _padded(value.type.shape, len(form.before) + 1)
    if heads == 1 and rows == 1:
        return value
    wide = (*lead, heads if heads == 1 else form.groups, form.repeats, form.rows, last)
    narrow = (*lead, *((1, 1) if heads == 1 else (form.groups, form.repeats)), rows, last)
    split = apply(Reshape(narrow), value, name=value.name) if narrow != value.type.shape else value
    full = apply(Expand(wide), split, name=value.name) if wide != narrow else split
    return apply(Reshape((*wide[:-3], form.rows * form.repeats, last)), full, name=value.name)


def _padded(shape: Shape, rank: int) -> Shape:
    return (*([1] * (rank - len(shape))), *shape)


def _reshaped(value: Value, form: _Groups) -> Value:
    return apply(Reshape((*form.after, value.type.shape[-1])), value, name=value.name)
