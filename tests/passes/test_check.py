"""Wrong rewrites are found: by number, by pass, and by computing before and after."""

from __future__ import annotations

import numpy as np
import pytest

from graphs import assert_equivalent, binary, drawn, given, network, operators, unary
from tensorwright.base.errors import BuildError
from tensorwright.graph.graph import Graph, Value, apply
from tensorwright.ops.activation import Relu
from tensorwright.ops.elementwise import Unary
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.passes.change import Change, Limit
from tensorwright.passes.check import Comparison, difference
from tensorwright.passes.pipeline import PASSES, optimise
from tensorwright.passes.rewrite import rewrite, rules_pass


@rewrite(Unary)
def exp_is_exp(value: Value) -> Value | None:
    """Right, once for each value."""
    return None if value.name.endswith("!") else apply(value.op, *value.inputs, name=f"{value.name}!")


@rewrite(Relu)
def relu_is_nothing(value: Value) -> Value | None:
    """Wrong."""
    return value.inputs[0]


MIXED = rules_pass("mixed", (exp_is_exp, relu_is_nothing))


def chain() -> Graph:
    """Two rewrites that are right, one that is wrong, one that is right."""
    x = unary("tanh", unary("tanh", given("x", 3, 4), name="a"), name="b")
    return network(unary("tanh", apply(Relu(), x, name="rectified"), name="c"))


def changes(graph: Graph, limit: Limit) -> list[Change]:
    found: list[Change] = []
    optimise(graph, passes=[*PASSES, MIXED], limit=limit, observers=[found.append])
    return found


def test_rewrites_are_numbered_and_any_number_of_them_can_be_made() -> None:
    (change,) = changes(chain(), Limit())
    rules = [(rewrite.number, rewrite.rule) for rewrite in change.rewrites]
    assert rules == [(1, "exp_is_exp"), (2, "exp_is_exp"), (3, "relu_is_nothing"), (4, "exp_is_exp")]
    for count in range(5):
        found = changes(chain(), Limit(rewrites=count))
        assert [r.rule for change in found for r in change.rewrites] == [rule for _, rule in rules[:count]]
        names = [value.name for value in change.up_to(count).order()]
        assert names == [value.name for value in (found[-1].after if found else chain()).order()]


def test_the_first_wrong_rewrite_is_named() -> None:
    message = r"pass mixed, round 1, .*number 3, relu_is_nothing, of\n  %rectified: .*\ninto\n  %.b!.: "
    with pytest.raises(BuildError, match=message):
        optimise(chain(), passes=[MIXED], observers=[Comparison()])
    with pytest.raises(BuildError, match=message):
        optimise(chain(), passes=[*PASSES, MIXED], observers=[Comparison()])
    optimise(chain(), passes=[MIXED], limit=Limit(rewrites=2), observers=[Comparison()])


def test_a_rewrite_that_breaks_evaluation_is_named() -> None:
    class Broken(Relu):
        def reference(self, *inputs: np.ndarray) -> np.ndarray:
            raise IndexError("too far")

    @rewrite(Relu)
    def breaks(value: Value) -> Value | None:
        return None if isinstance(value.op, Broken) else apply(Broken(), *value.inputs)

    with pytest.raises(BuildError, match=r"can not be computed \(IndexError: too far\).*number 1, breaks"):
        optimise(chain(), passes=[rules_pass("breaking", (breaks,))], observers=[Comparison()])


def test_what_cannot_be_computed_at_all_is_not_blamed_on_a_rewrite() -> None:
    class Unknown(Relu):
        def reference(self, *inputs: np.ndarray) -> np.ndarray:
            raise NotImplementedError("no reference")

    graph = network(unary("exp", apply(Unknown(), given("x", 3, 4))))
    with pytest.raises(BuildError, match=r"pass mixed cannot be checked: .*no reference"):
        optimise(graph, passes=[MIXED], observers=[Comparison()])


def test_right_rewrites_pass(rng: np.random.Generator) -> None:
    x = given("x", 3, 4)
    scaled = binary("mul", apply(MatMul(), x, drawn(rng, 4, 5)), 0.5)
    found: list[Change] = []
    result = optimise(network(apply(Softmax(1), scaled)), observers=[Comparison(), found.append])
    assert found
    assert_equivalent(network(apply(Softmax(1), scaled)), result, rng)


def test_rewriting_stops_after_a_pass(rng: np.random.Generator) -> None:
    x = given("x", 3, 4)
    graph = network(binary("add", binary("mul", unary("exp", binary("add", drawn(rng, 4), drawn(rng, 4))), x), 0.0))
    assert operators(optimise(graph, limit=Limit("fold_constants"))) == {"Binary": 2}
    assert operators(optimise(graph, limit=Limit("simplify_arithmetic"))) == {"Binary": 1}
    assert operators(optimise(graph, limit=Limit("canonicalise:2"))) == {"Binary": 1}
    for wrong in ("fold", "fold_constants:0", "fold_constants:x"):
        with pytest.raises(BuildError, match=f"stop_after: expected .*{wrong}"):
            optimise(graph, limit=Limit(wrong))
    with pytest.raises(BuildError, match="max_rewrites is -1"):
        optimise(graph, limit=Limit(rewrites=-1))


def test_differences_beyond_rounding_count() -> None:
    one = {"y": np.array([1.0, -2.0, np.nan, np.inf], np.float32)}
    assert not difference(one, {"y": one["y"] * np.float32(1 + 1e-6)})
    assert "differs by" in difference(one, {"y": one["y"] * np.float32(1.01)})
    assert "differs by inf" in difference(one, {"y": np.array([1.0, -2.0, 0.0, np.inf], np.float32)})
    assert "differs by inf" in difference(one, {"y": np.array([1.0, np.nan, np.nan, np.inf], np.float32)})
    whole = {"n": np.array([1, 2, 3])}
    assert "differs in 1 of 3" in difference(whole, {"n": np.array([1, 2, 4])})
