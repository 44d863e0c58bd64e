"""Networks in narrower types: what changes, what stays, and that they compute the same but for rounding."""

from __future__ import annotations

import numpy as np
import pytest

from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph, Value, apply, constant_value, input_value, is_constant
from tensorwright.graph.verify import verify
from tensorwright.ops.activation import Relu
from tensorwright.ops.elementwise import Binary, Cast, Unary
from tensorwright.ops.indexing import Gather
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.reduction import Reduction
from tensorwright.passes.pipeline import optimise
from tensorwright.passes.precision import Recast, recast
from tensorwright.tensor.dtype import BFLOAT16, BOOL, FLOAT16, FLOAT32, INT64, DType
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of

NARROW = (BFLOAT16, FLOAT16)
X = input_value("x", TensorType(FLOAT32, (4, 8)))


def constant(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> Value:
    return constant_value(weights_of((scale * rng.standard_normal(shape)).astype(np.float32)), "w")


def graph(output: Value, *inputs: Value) -> Graph:
    return Graph(tuple((value.name, value) for value in inputs or (X,)), (("y", output),))


def all_in(dtype: DType, made: Graph) -> Recast:
    found = recast(made, lambda _: dtype)
    verify(found.graph)
    assert [value.type for _, value in found.graph.outputs] == [value.type for _, value in made.outputs]
    assert found.graph.inputs == made.inputs
    return found


def types(made: Graph, op: type) -> list[DType]:
    return [value.type.dtype for value in made.order() if isinstance(value.op, op)]


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_a_chain_is_narrow_from_its_first_product_to_the_output(dtype, rng):
    first = apply(MatMul(), apply(Relu(), X), constant(rng, 8, 8))
    second = apply(Relu(), apply(MatMul(), apply(Softmax(1), first), constant(rng, 8, 3)))
    made = graph(apply(Softmax(1), apply(MatMul(), second, constant(rng, 3, 5))))
    narrow = all_in(dtype, made).graph
    assert types(narrow, MatMul) == [dtype, dtype, dtype]
    assert types(narrow, Softmax) == [dtype, FLOAT32]  # An output is not rounded once more.
    assert types(narrow, Relu) == [FLOAT32, dtype]  # What nothing narrow reaches stays.
    assert types(narrow, Cast) == [dtype, FLOAT32]
    assert {value.type.dtype for value in narrow.order() if is_constant(value)} == {dtype}
    given = {"x": rng.standard_normal((4, 8)).astype(np.float32)}
    (expected,), (found,) = (list(evaluate_graph(one, given).values()) for one in (made, narrow))
    assert np.allclose(found, expected, atol=0.05 * float(np.abs(expected).max()))
    assert not np.array_equal(found, expected)


def test_sums_and_what_follows_from_them_alone_are_float32(rng):
    product = apply(MatMul(), X, constant(rng, 8, 8))
    norm = apply(Unary("sqrt"), apply(Reduction("sum_square", (1,)), product))
    second = apply(MatMul(), apply(Binary("div"), product, norm), constant(rng, 8, 8))
    narrow = all_in(FLOAT16, graph(second)).graph
    assert types(narrow, Reduction) == [FLOAT32]
    assert types(narrow, Unary) == [FLOAT32]
    assert types(narrow, Binary) == [FLOAT16]


def test_largest_elements_and_tables_are_narrow(rng):
    indices = input_value("i", TensorType(INT64, (3,)))
    rows = apply(Gather(0), constant(rng, 9, 8), indices)
    largest = apply(Reduction("max", (0,)), rows)
    narrow = all_in(BFLOAT16, graph(apply(MatMul(), largest, constant(rng, 8, 8)), indices)).graph
    assert types(narrow, Gather) == types(narrow, Reduction) == [BFLOAT16]


def test_exponentials_of_float16_are_float32(rng):
    grown = apply(Unary("exp"), apply(MatMul(), X, constant(rng, 8, 8)))
    made = graph(apply(MatMul(), grown, constant(rng, 8, 8)))
    assert types(all_in(FLOAT16, made).graph, Unary) == [FLOAT32]
    assert types(all_in(BFLOAT16, made).graph, Unary) == [BFLOAT16]


def test_integers_truth_values_and_other_floats_stay(rng):
    positive = apply(Binary("less"), constant(rng, 4, 8), apply(MatMul(), X, constant(rng, 8, 8)))
    assert positive.type.dtype == BOOL
    narrow = all_in(BFLOAT16, graph(positive)).graph
    assert types(narrow, Binary) == [BOOL]
    assert types(narrow, MatMul) == [BFLOAT16]
    assert types(narrow, Cast) == [BFLOAT16, FLOAT32]  # The comparison is an output.


def test_constants_that_do_not_fit_keep_their_operator_wide_and_are_named(rng):
    made = graph(apply(MatMul(), X, constant(rng, 8, 8, scale=1e6), name="huge"))
    found = all_in(FLOAT16, made)
    assert types(found.graph, MatMul) == [FLOAT32]
    assert [(value.name, name) for value, name in found.kept.items()] == [("huge", "w")]
    assert not all_in(BFLOAT16, made).kept


def test_parts_may_have_types_of_their_own(rng):
    first = apply(MatMul(), X, constant(rng, 8, 8), name="first")
    made = graph(apply(MatMul(), apply(Relu(), first), constant(rng, 8, 8), name="second"))
    narrow = recast(made, lambda value: FLOAT16 if value.name == "second" else FLOAT32).graph
    assert types(narrow, MatMul) == [FLOAT32, FLOAT16]
    assert types(narrow, Relu) == [FLOAT32]
    mixed = recast(made, lambda value: FLOAT16 if value.name == "second" else BFLOAT16).graph
    assert types(mixed, MatMul) == [BFLOAT16, FLOAT16]


def test_nothing_changes_where_nothing_is_wanted(rng):
    made = graph(apply(Relu(), apply(MatMul(), X, constant(rng, 8, 8))))
    found = recast(made, lambda _: FLOAT32)
    assert found.graph == made
    assert not found.kept


def test_every_computed_value_stands_for_one_of_the_original(rng):
    made = graph(apply(Relu(), apply(MatMul(), X, constant(rng, 8, 8))))
    found = all_in(BFLOAT16, made)
    originals = set(made.order())
    computed = [value for value in found.graph.order() if value.op.kind != "source"]
    assert computed
    assert all(found.origins[value] in originals for value in computed)


def test_a_value_of_several_users_is_converted_once(rng):
    users = [apply(MatMul(), X, constant(rng, 8, 8)) for _ in range(2)]
    narrow = all_in(BFLOAT16, graph(apply(MatMul(), apply(Binary("add"), *users), constant(rng, 8, 8)))).graph
    assert types(narrow, Cast) == [BFLOAT16, FLOAT32]


def test_optimising_finds_conversions_there_and_back(rng):
    first = apply(MatMul(), X, constant(rng, 8, 8))
    made = graph(apply(MatMul(), first, constant(rng, 8, 8)))
    narrow = optimise(all_in(BFLOAT16, made).graph)
    assert types(narrow, Cast) == [BFLOAT16, FLOAT32]
