"""Graphs with functions: their bodies take the place of the calls."""

from __future__ import annotations

import numpy as np
import pytest

from tensorflow_graphs import GraphMaker
from tensorwright.base.errors import ImportFailure
from tensorwright.compat import uff
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.importers.tensorflow import import_tensorflow
from tensorwright.importers.uff import RegisteredInput, import_uff
from tensorwright.importers.uff.read import read_model

X = np.array([[1, -2, 3, -4]], np.float32)


def function(graph: GraphMaker, name: str, arguments: list[str], results: dict[str, str]):
    """A function without nodes yet."""
    made = graph.message.library.function.add()
    made.signature.name = name
    for argument in arguments:
        made.signature.input_arg.add(name=argument)
    for result, source in results.items():
        made.signature.output_arg.add(name=result)
        made.ret[result] = source
    return made


def halves(call: str = "PartitionedCall") -> GraphMaker:
    """(relu of the first half, minus the second half), computed by functions that call each other."""
    graph = GraphMaker()
    x, axis = graph.placeholder((-1, 4)), graph.constant(1)
    outer = function(graph, "outer", ["whole", "axis"], {"left": "act:output:0", "right": "neg:y:0"})
    split = outer.node_def.add(name="split", op="Split", input=["axis", "whole", "^act"])
    split.attr["num_split"].i = 2
    outer.node_def.add(name="act", op="inner", input=["split:output:0"])
    outer.node_def.add(name="neg", op="Neg", input=["split:output:1"])
    inner = function(graph, "inner", ["value"], {"output": "relu:activations:0"})
    inner.node_def.add(name="relu", op="Relu", input=["value"])
    graph.add(call if call != "outer" else "outer", x, axis, name="call")
    if call != "outer":
        graph.message.node[-1].attr["f"].func.name = "outer"
    graph.add("ConcatV2", "call:1", "call", axis, name="y", N=2)
    return graph


@pytest.mark.parametrize("call", ["PartitionedCall", "StatefulPartitionedCall", "outer"])
def test_calls_are_replaced_by_bodies(call: str) -> None:
    network = import_tensorflow(halves(call).bytes())
    np.testing.assert_array_equal(evaluate_graph(network, {"x": X})["y"], [[-3, 4, 1, 0]])
    assert "call/act/relu" in {value.name for value in network.order()}


def test_calls_are_converted_to_uff() -> None:
    model = uff.from_tensorflow(halves().message, ["y", "call:1"], quiet=True)
    assert "IdentityN" not in {node.operation for node in read_model(model).nodes.values()}
    network = import_uff(model, {"x": RegisteredInput((4,), "NC")})
    found = evaluate_graph(network, {"x": X})
    np.testing.assert_array_equal(found["y"], [[-3, 4, 1, 0]])
    np.testing.assert_array_equal(found["call:1"], [[-3, 4]])


def test_outputs_of_several_names_are_numbered() -> None:
    graph = GraphMaker()
    made = function(graph, "best", ["x", "k"], {"where": "top:indices:0"})
    made.node_def.add(name="top", op="TopKV2", input=["x", "k"])
    graph.add("best", graph.placeholder((-1, 4)), graph.constant(2), name="y")
    assert evaluate_graph(import_tensorflow(graph.bytes()), {"x": X})["y"].tolist() == [[2, 0]]


def test_attributes_of_the_call_reach_the_body() -> None:
    graph = GraphMaker()
    made = function(graph, "leaky", ["x"], {"y": "leak:activations:0"})
    leak = made.node_def.add(name="leak", op="LeakyRelu", input=["x"])
    leak.attr["alpha"].placeholder = "slope"
    graph.add("leaky", graph.placeholder((-1, 4)), name="y", slope=0.5)
    assert evaluate_graph(import_tensorflow(graph.bytes()), {"x": X})["y"].tolist() == [[1, -1, 3, -2]]


def conditional(operator: str, taken: bool) -> GraphMaker:
    """(2 x, 5) if the condition holds, otherwise (x, 7)."""
    graph = GraphMaker()
    then = function(graph, "then", ["x"], {"y": "twice:z:0", "n": "five:output:0"})
    then.node_def.add(name="twice", op="Add", input=["x", "x"])
    otherwise = function(graph, "otherwise", ["x"], {"y": "x", "n": "seven:output:0"})
    for made, name, number in ((then, "five", 5), (otherwise, "seven", 7)):
        constant = made.node_def.add(name=name, op="Const")
        constant.attr["dtype"].type = constant.attr["value"].tensor.dtype = 1
        constant.attr["value"].tensor.float_val.append(number)
    x = graph.placeholder((-1, 4))
    graph.add(operator, graph.constant(np.bool_(taken)), x, name="chosen")
    for branch, name in (("then_branch", "then"), ("else_branch", "otherwise")):
        graph.message.node[-1].attr[branch].func.name = name
    graph.add("Mul", "chosen", "chosen:1", name="y")
    return graph


@pytest.mark.parametrize("operator", ["If", "StatelessIf"])
@pytest.mark.parametrize("taken", [True, False])
def test_conditions_on_constants_are_decided(operator: str, taken: bool) -> None:
    found = evaluate_graph(import_tensorflow(conditional(operator, taken).bytes()), {"x": X})["y"]
    np.testing.assert_array_equal(found, X * (10 if taken else 7))


def test_wrong_conditions_are_named() -> None:
    graph = conditional("If", True)
    graph.message.node[-2].attr["then_branch"].func.name = "nothing"
    assert "node 'chosen' (If) has no function as its then_branch" in failing(graph)
    graph = conditional("If", True)
    del graph.message.library.function[0].signature.output_arg[1]
    assert "its branches have [1, 2] results" in failing(graph)
    graph = conditional("If", True)
    del graph.message.node[-2].input[:]
    assert "node 'chosen/else_branch' gives function 'otherwise' 0 arguments, it has 1" in failing(graph)


def failing(graph: GraphMaker) -> str:
    with pytest.raises(ImportFailure) as caught:
        import_tensorflow(graph.bytes())
    return str(caught.value)


def test_functions_without_end_are_refused() -> None:
    graph = GraphMaker()
    made = function(graph, "f", ["x"], {"y": "again:y:0"})
    made.node_def.add(name="again", op="f", input=["x"])
    graph.add("f", graph.placeholder((1,)), name="y")
    assert "functions call each other more than 32 deep" in failing(graph)
    graph = GraphMaker()
    for level in range(30):
        made = function(graph, f"f{level}", ["x"], {"y": "b:y:0"})
        made.node_def.add(name="a", op=f"f{level + 1}", input=["x"])
        made.node_def.add(name="b", op=f"f{level + 1}", input=["a:y:0"])
    graph.add("f0", graph.placeholder((1,)), name="y")
    assert "more than 65536 nodes" in failing(graph)


def test_wrong_calls_are_named() -> None:
    graph = GraphMaker()
    function(graph, "f", ["x", "y"], {"z": "x"})
    graph.add("f", graph.placeholder((1,)), name="call")
    assert "node 'call' gives function 'f' 1 arguments, it has 2" in failing(graph)
    graph = GraphMaker()
    made = function(graph, "f", ["x"], {})
    made.signature.output_arg.add(name="z")
    graph.add("f", graph.placeholder((1,)), name="call")
    assert "function 'f' does not say what its result 'z' is" in failing(graph)
