"""The application of rules."""

from __future__ import annotations

import pytest

from graphs import binary, given, network, operators, unary
from tensorwright.graph.graph import Value, apply
from tensorwright.ops.activation import Relu
from tensorwright.ops.elementwise import Binary, Identity, Unary
from tensorwright.passes.identity import identity
from tensorwright.passes.rewrite import Uses, rewrite, rewrite_with_uses, rules_pass


@rewrite(Unary)
def to_relu(value: Value) -> Value | None:
    return apply(Relu(), value.inputs[0], name=value.name)


@rewrite_with_uses(Relu)
def drop_if_single(value: Value, uses: Uses) -> Value | None:
    (x,) = value.inputs
    return x.inputs[0] if isinstance(x.op, Binary) and uses.once(x) else None


def test_rules_see_the_results_of_rules_below_and_before_them():
    x = given("x", 3)
    result = rules_pass("rules", (to_relu,))(network(unary("exp", unary("log", x)), x))
    assert operators(result) == {"Relu": 2}
    result = rules_pass("rules", (to_relu, drop_if_single))(network(unary("exp", binary("add", x, x))))
    assert result.outputs[0][1] is x


def test_a_value_that_stands_in_for_another_inherits_its_users():
    total = binary("add", given("x", 3), 1.0)
    alias = apply(Identity(), total)
    graph = network(apply(Relu(), alias), unary("exp", alias))
    result = rules_pass("rules", (identity, drop_if_single))(graph)
    assert operators(result) == {"Binary": 1, "Relu": 1, "Unary": 1}
    graph = network(apply(Relu(), alias))
    assert operators(rules_pass("rules", (identity, drop_if_single))(graph))["Binary"] <= 1


def test_outputs_count_as_uses():
    total = binary("add", given("x", 3), 1.0)
    result = rules_pass("rules", (drop_if_single,))(network(apply(Relu(), total), total))
    assert operators(result) == {"Binary": 1, "Relu": 1}


def test_several_uses_by_one_user():
    x, y = given("x", 3), given("y", 3)
    square, total = binary("mul", x, x), binary("add", x, y)
    uses = Uses(network(square, total).uses())
    assert uses.once(y)
    assert not uses.once(x)
    assert not uses.only_by(square, x)
    assert Uses(network(square).uses()).only_by(square, x)
    assert not uses.once(unary("exp", x))


def test_a_rule_that_changes_a_type_is_a_defect():
    @rewrite(Unary)
    def wrong(value: Value) -> Value | None:
        return given("y", 4)

    with pytest.raises(AssertionError, match="changed the type"):
        rules_pass("rules", (wrong,))(network(unary("exp", given("x", 3))))
