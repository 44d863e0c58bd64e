"""What code generation counts on in the definitions: names, guards, and statistics computed once."""

from __future__ import annotations

import pytest

from cases.case import Case, f32
from cases.collection import CASES
from tensorwright.graph.expression import Computation, Load, Reduce, scalar_atoms, walk
from tensorwright.ops.convolution import Convolution, Deconvolution
from tensorwright.ops.normalization import LayerNormalization, Softmax
from tensorwright.ops.pooling import Pool
from tensorwright.ops.shape import Reshape, reshaped_index
from tensorwright.tensor.dim import expression, symbol


def defined(op, *operands) -> Computation:
    types = [operand.type for operand in operands]
    return op.define(types, op.infer(types))


def loads(computation: Computation) -> list[Load]:
    return [node for node in walk(computation.body) if isinstance(node, Load)]


def reductions(computation: Computation) -> list[Reduce]:
    return list({id(node): node for node in walk(computation.body) if isinstance(node, Reduce)}.values())


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_every_variable_has_a_name_of_its_own(case: Case):
    computation = case.op.define(case.types, case.output)
    names = [variable.name for variable in computation.variables]
    names += [variable.name for reduce in reductions(computation) for variable in reduce.variables]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_the_body_has_the_inferred_type(case: Case):
    computation = case.op.define(case.types, case.output)
    assert computation.body.dtype == case.output.dtype
    assert tuple(variable.extent for variable in computation.variables) == case.output.shape


@pytest.mark.parametrize("op", [Softmax(1), LayerNormalization(1)], ids=repr)
def test_statistics_do_not_depend_on_the_element(op):
    operands = [f32(3, 17)] if isinstance(op, Softmax) else [f32(3, 17), f32(17), f32(17)]
    computation = defined(op, *operands)
    assert len(reductions(computation)) == 2
    assert not any(computation.variables[1] in scalar_atoms(reduce) for reduce in reductions(computation))


@pytest.mark.parametrize("extent", [9, symbol("side", 9, 9, 20)], ids=str)
def test_only_padding_is_guarded(extent):
    def guarded(begin: int, end: int) -> bool:
        op = Convolution((1, 2), (begin, 0), (end, 0), (1, 1))
        return any(load.guard is not None for load in loads(defined(op, f32(1, 3, extent, 9), f32(4, 3, 3, 3))))

    assert not guarded(0, 0)
    assert guarded(1, 0)
    assert guarded(0, 1)
    pool = Pool("average", (2, 2), (2, 2), (0, 0), (0, 0), (1, 1))
    assert all(load.guard is None for load in loads(defined(pool, f32(1, 3, extent, 9))))


def test_unit_axes_are_not_looped_over():
    (reduce,) = reductions(defined(Convolution((1, 1), (1, 1), (1, 1), (1, 1), 8), f32(1, 8, 5, 5), f32(8, 1, 3, 3)))
    assert [variable.extent for variable in reduce.variables] == [3, 3]


def test_a_strided_deconvolution_visits_only_the_taps_that_meet():
    op = Deconvolution((2, 2), (1, 1), (1, 1), (1, 1), 1, (0, 0))
    (reduce,) = reductions(defined(op, f32(1, 8, 5, 5), f32(8, 4, 4, 4)))
    assert [variable.extent for variable in reduce.variables] == [8, 2, 2]


def test_reshaping_keeps_the_indices_of_axes_that_stay():
    batch, length = symbol("batch", 1, 2, 4), symbol("length", 1, 5, 20)
    computation = defined(Reshape((batch, length, 4, 5)), f32(batch, length, 20))
    i0, i1, i2, i3 = (expression(variable) for variable in computation.variables)
    (load,) = loads(computation)
    assert load.index == (i0, i1, i2 * 5 + i3)
    assert reshaped_index((batch, length, 20), (i0, i1, i3), (batch, length, 4, 5))[:2] == (i0, i1)
