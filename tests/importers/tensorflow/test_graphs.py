"""Graphs as a whole: files, outputs, inputs, conditions, dilation, and what the errors say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

from tensorflow_graphs import GraphMaker
from tensorwright.base.errors import ImportFailure
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph, Value
from tensorwright.graph.verify import verify
from tensorwright.importers.failures import UnsupportedNodes
from tensorwright.importers.tensorflow import import_tensorflow, read_network
from tensorwright.ops.convolution import Convolution
from tensorwright.passes.pipeline import optimise
from tensorwright.runtime.engine import Engine
from tensorwright.tensor.dtype import DTYPES, FLOAT32


def operators(graph: Graph) -> Counter[str]:
    return Counter(value.op.name for value in graph.order())


def only(graph: Graph, kind: type) -> Value:
    (found,) = (value for value in graph.order() if isinstance(value.op, kind))
    return found


def small() -> GraphMaker:
    """``fc/Relu = relu(x w + b)`` of a batch of any size."""
    graph = GraphMaker()
    x = graph.placeholder((-1, 3))
    w = graph.constant(np.arange(6, dtype=np.float32).reshape(3, 2) - 2, "fc/weights")
    b = graph.constant(np.array([0.5, -20], np.float32), "fc/bias")
    product = graph.add("MatMul", x, graph.add("Identity", w, name="fc/weights/read"), name="fc/MatMul")
    graph.add("Relu", graph.add("BiasAdd", product, b, name="fc/BiasAdd"), name="fc/Relu")
    return graph


X = np.array([[1, 2, 3], [0.5, -1, 2]], np.float32)
Y = np.maximum(X @ np.array([[-2, -1], [0, 1], [2, 3]]) + [0.5, -20], 0)


def test_a_graph_is_read_from_bytes_files_and_messages(tmp_path: Path) -> None:
    graph = small()
    binary, textual = tmp_path / "g.pb", tmp_path / "g.pbtxt"
    binary.write_bytes(graph.bytes())
    textual.write_text(text_format.MessageToString(graph.message))
    for source in (graph.bytes(), binary, str(binary), textual, graph.message):
        found = evaluate_graph(import_tensorflow(source), {"x": X})
        np.testing.assert_allclose(found["fc/Relu"], Y, rtol=1e-6)


def test_outputs_are_what_nothing_takes_or_what_is_named() -> None:
    data = small().bytes()
    assert [name for name, _ in import_tensorflow(data).outputs] == ["fc/Relu"]
    network = import_tensorflow(data, outputs=["fc/MatMul", "fc/BiasAdd:0"])
    found = evaluate_graph(network, {"x": X})
    np.testing.assert_allclose(found["fc/BiasAdd:0"] - found["fc/MatMul"], [[0.5, -20]] * 2, rtol=1e-6)


def test_every_tensor_has_its_name() -> None:
    graph = small()
    graph.add("Split", graph.constant(1), "fc/Relu", name="parts", num_split=2)
    names = read_network(graph.bytes()).names
    assert names["fc/weights"] is names["fc/weights/read"]
    assert names["parts:1"].type.shape == names["parts"].type.shape == (names["x"].type.shape[0], 1)


def test_unknown_extents_are_symbols_with_the_given_ranges() -> None:
    network = import_tensorflow(small().bytes())
    assert str(network.inputs[0][1].type) == "float32[batch×3]"
    (batch,) = network.symbols()
    assert batch.name == "batch"
    assert (batch.min, batch.opt, batch.max) == (1, 1, 16)
    (batch,) = import_tensorflow(small().bytes(), shapes={"x": (("n", 2, 4, 8), None)}).symbols()
    assert (batch.name, batch.min, batch.opt, batch.max) == ("n", 2, 4, 8)
    assert import_tensorflow(small().bytes(), shapes={"x": (5, 3)}).inputs[0][1].type.shape == (5, 3)
    with pytest.raises(ImportFailure, match=r"input 'x' axis 1: the model fixes it to 3, shapes says 4"):
        import_tensorflow(small().bytes(), shapes={"x": (1, 4)})


def test_one_batch_goes_through_all_inputs() -> None:
    graph = GraphMaker()
    graph.add("Add", graph.placeholder((-1, 3)), graph.placeholder((-1, 1), "z"), name="y")
    assert str(import_tensorflow(graph.bytes()).outputs[0][1].type) == "float32[batch×3]"
    shapes = {"x": (("rows", 1, 2, 4), 3), "z": (1, 1)}
    assert str(import_tensorflow(graph.bytes(), shapes=shapes).outputs[0][1].type) == "float32[rows×3]"
    graph = GraphMaker()
    graph.add("Neg", graph.placeholder((-1, -1)), name="y")
    assert [dim.name for dim in import_tensorflow(graph.bytes()).symbols()] == ["batch", "x_1"]


def test_a_placeholder_of_unknown_shape_needs_one() -> None:
    for maker in (GraphMaker(producer=12), GraphMaker()):
        maker.placeholder(() if maker.message.versions.producer == 12 else None)
        maker.add("Relu", "x", name="y")
        with pytest.raises(ImportFailure, match=r"input 'x': its rank is unknown; give its shape with shapes"):
            import_tensorflow(maker.bytes())
        assert import_tensorflow(maker.bytes(), shapes={"x": (2, 3)}).outputs[0][1].type.shape == (2, 3)


def test_minus_one_is_a_dimension_of_the_usual_range() -> None:
    shapes = {"x": (-1, 3)}
    assert str(import_tensorflow(small().bytes(), shapes=shapes).inputs[0][1].type) == "float32[batch×3]"
    graph = GraphMaker()
    graph.placeholder(None)
    graph.add("Relu", "x", name="y")
    (symbol,) = import_tensorflow(graph.bytes(), shapes={"x": (-1, 5)}).symbols()
    assert (symbol.min, symbol.opt, symbol.max) == (1, 1, 16)


def test_a_placeholder_with_a_default_is_a_constant_or_an_input() -> None:
    graph = GraphMaker()
    x = graph.placeholder((2,))
    scale = graph.add("PlaceholderWithDefault", graph.constant(np.float32(3)), name="scale", dtype=FLOAT32)
    graph.add("Mul", x, scale, name="y")
    ones = np.ones(2, np.float32)
    assert evaluate_graph(import_tensorflow(graph.bytes()), {"x": ones})["y"].tolist() == [3, 3]
    network = import_tensorflow(graph.bytes(), shapes={"scale": ()})
    assert evaluate_graph(network, {"x": ones, "scale": np.float32(5)})["y"].tolist() == [5, 5]


@pytest.mark.parametrize("style", ["floor", "compare"])
@pytest.mark.parametrize("batch", [-1, 4])
def test_a_dropout_that_keeps_everything_is_nothing(style: str, batch: int, rng: np.random.Generator) -> None:
    graph = GraphMaker()
    x = graph.placeholder((batch, 3))
    keep = graph.placeholder(None, "keep_prob")
    graph.add("Placeholder", name="is_training", dtype=DTYPES["bool"])
    uniform = graph.add("RandomUniform", graph.add("Shape", x), name="uniform", dtype=FLOAT32)
    spread = graph.add("Sub", graph.constant(np.float32(1)), graph.constant(np.float32(0)))
    drawn = graph.add("Add", graph.add("Mul", uniform, spread), graph.constant(np.float32(0)), name="drawn")
    if style == "floor":
        mask = graph.add("Floor", graph.add("Add", drawn, keep, name="random_tensor"), name="mask")
    else:
        rate = graph.add("Sub", graph.constant(np.float32(1)), keep)
        kept = graph.add("GreaterEqual", drawn, rate, name="kept")
        mask = graph.add("Cast", kept, name="mask", SrcT=DTYPES["bool"], DstT=FLOAT32)
    dropped = graph.add("Mul", graph.add("RealDiv", x, keep), mask, name="dropped")
    graph.add("Switch", dropped, "is_training", name="switch")
    graph.add("Merge", graph.add("Relu", "switch"), graph.add("Neg", "switch:1"), name="y")
    constants = {"is_training": False, "keep_prob": 1.0}
    network = import_tensorflow(graph.bytes(), constants=constants)
    assert [name for name, _ in network.inputs] == ["x"]
    assert [name for name, _ in network.outputs] == ["y"]
    values = rng.normal(size=(4, 3)).astype(np.float32)
    np.testing.assert_array_equal(evaluate_graph(network, {"x": values})["y"], np.maximum(values, 0))
    with pytest.raises(ImportFailure, match="RandomUniform"):
        import_tensorflow(graph.bytes(), constants={**constants, "keep_prob": 0.5})


def test_constants_are_checked() -> None:
    graph = GraphMaker()
    graph.add("Placeholder", name="training", dtype=DTYPES["bool"])
    graph.add("Add", graph.placeholder((2,)), graph.placeholder((2,), "shift"), name="y")
    ones = np.ones(2, np.float32)
    network = import_tensorflow(graph.bytes(), constants={"shift": [1, 2]})
    np.testing.assert_array_equal(evaluate_graph(network, {"x": ones})["y"], [2, 3])
    for constants, message in (
        ({"shif": 1}, "there is no node 'shif'.*'shift'"),
        ({"shift": [1, 2, 3]}, r"'shift' has the shape \[2\], found \[3\]"),
        ({"training": 2}, "'training' has the element type bool, which cannot hold 2"),
        ({"shift": "many"}, "'shift': expected a number, a truth value or an array, found 'many'"),
    ):
        with pytest.raises(ImportFailure, match=message):
            import_tensorflow(graph.bytes(), constants=constants)


def test_texts_of_graphs_are_read_with_their_weights(rng: np.random.Generator) -> None:
    graph = GraphMaker()
    weights = rng.normal(size=(300, 300)).astype(np.float32)
    graph.add("MatMul", graph.placeholder((1, 300)), graph.constant(weights), name="y")
    x = rng.normal(size=(1, 300)).astype(np.float32)
    network = import_tensorflow(("# frozen\n" + str(graph.message)).encode())
    np.testing.assert_allclose(evaluate_graph(network, {"x": x})["y"], x @ weights, rtol=1e-4, atol=1e-4)


def conditional(training: bool) -> GraphMaker:
    """y = 2 x in training, 3 x otherwise."""
    graph = GraphMaker()
    x, flag = graph.placeholder((2,)), graph.constant(np.bool_(training), "phase")
    graph.add("Switch", x, flag, name="switch")
    one = graph.add("Mul", "switch:1", graph.constant(np.float32(2)), name="in_training")
    other = graph.add("Mul", "switch", graph.constant(np.float32(3)), name="otherwise")
    graph.add("Merge", other, one, name="y")
    return graph


@pytest.mark.parametrize(("training", "factor"), [(True, 2), (False, 3)])
def test_conditions_on_constants_are_decided(training: bool, factor: int) -> None:
    network = import_tensorflow(conditional(training).bytes(), outputs=["y"])
    found = evaluate_graph(network, {"x": np.array([1, -2], np.float32)})
    assert found["y"].tolist() == [factor, -2 * factor]


def test_an_output_in_the_other_branch_is_refused() -> None:
    with pytest.raises(ImportFailure, match=r"output 'otherwise' is in a branch that is never taken"):
        import_tensorflow(conditional(True).bytes(), outputs=["otherwise"])


def test_a_condition_on_data_is_not_supported() -> None:
    graph = GraphMaker()
    x, flag = graph.placeholder((2,)), graph.placeholder((), "phase", "bool")
    graph.add("Switch", x, flag, name="switch")
    graph.add("Merge", "switch", "switch:1", name="y")
    with pytest.raises(UnsupportedNodes, match=r"Switch +1 +'switch' +the condition of Switch has to be a constant"):
        import_tensorflow(graph.bytes(), outputs=["y"])


def dilated(paddings: list[list[int]], crops: list[list[int]], **changed: object) -> GraphMaker:
    graph = GraphMaker()
    rng = np.random.default_rng(7)
    x = graph.placeholder((-1, 9, 8, 3))
    blocks = graph.add("SpaceToBatchND", x, graph.constant([2, 3]), graph.constant(paddings))
    kernel = graph.constant(rng.normal(size=(3, 2, 3, 4)).astype(np.float32))
    attributes = {"padding": "VALID", "strides": [1, 1, 1, 1]} | changed
    y = graph.add("Conv2D", blocks, kernel, **attributes)
    graph.add("BatchToSpaceND", y, graph.constant([2, 3]), graph.constant(crops), name="y")
    return graph


@pytest.mark.parametrize(
    ("paddings", "crops", "pads"),
    [
        ([[2, 1], [2, 2]], [[0, 0], [0, 0]], ((2, 2), (1, 2))),
        ([[2, 3], [3, 4]], [[0, 1], [1, 2]], ((2, 2), (2, 2))),
        ([[0, 1], [0, 1]], [[0, 1], [0, 1]], ((0, 0), (0, 0))),
    ],
)
def test_a_convolution_of_blocks_is_a_dilated_one(paddings, crops, pads, rng: np.random.Generator) -> None:
    network = import_tensorflow(dilated(paddings, crops).bytes())
    convolution = only(network, Convolution).op
    assert convolution.dilations == (2, 3)
    assert (convolution.pads_begin, convolution.pads_end) == pads
    assert operators(network)["Transpose"] == 2
    x = rng.normal(size=(2, 9, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(evaluate_graph(network, {"x": x})["y"], by_blocks(x, paddings, crops), atol=1e-5)


def by_blocks(x: np.ndarray, paddings: list[list[int]], crops: list[list[int]]) -> np.ndarray:
    """The same computed block by block."""
    kernel = np.random.default_rng(7).normal(size=(3, 2, 3, 4)).astype(np.float32).astype(float)
    wide = np.pad(x.astype(float), [(0, 0), *paddings, (0, 0)])
    rows, columns = wide.shape[1] - 4, wide.shape[2] - 3
    result = sum(
        wide[:, 2 * i : 2 * i + rows, 3 * j : 3 * j + columns] @ kernel[i, j] for i in range(3) for j in range(2)
    )
    (top, bottom), (left, right) = crops
    return result[:, top : rows - bottom, left : columns - right]


def test_a_strided_convolution_of_blocks_stays_one_of_blocks(rng: np.random.Generator) -> None:
    network = import_tensorflow(
        dilated([[0, 1], [0, 1]], [[0, 0], [0, 0]], padding="SAME", strides=[1, 1, 1, 1]).bytes()
    )
    assert only(network, Convolution).op.dilations == (1, 1)
    assert evaluate_graph(network, {"x": rng.normal(size=(1, 9, 8, 3)).astype(np.float32)})["y"].shape == (1, 10, 9, 4)


def test_a_pad_with_zeros_before_a_convolution_is_part_of_it(rng: np.random.Generator) -> None:
    def convolved(operator: str, *more: object, pads=((0, 0), (2, 1), (0, 3), (0, 0)), padding: str = "VALID") -> Graph:
        graph = GraphMaker()
        wide = graph.add(operator, graph.placeholder((1, 5, 6, 3)), graph.constant(pads), *map(graph.constant, more))
        kernel = graph.constant(np.ones((3, 3, 3, 4), np.float32))
        graph.add("Conv2D", wide, kernel, name="y", padding=padding, strides=[1, 1, 1, 1])
        return import_tensorflow(graph.bytes())

    fused = convolved("Pad")
    assert operators(fused)["Pad"] == 0
    assert only(fused, Convolution).op.pads_begin == (2, 0)
    assert only(fused, Convolution).op.pads_end == (1, 3)
    x = rng.normal(size=(1, 5, 6, 3)).astype(np.float32)
    wide = np.pad(x, [(0, 0), (2, 1), (0, 3), (0, 0)])
    sums = np.lib.stride_tricks.sliding_window_view(wide.sum(-1), (3, 3), (1, 2)).sum((-1, -2))
    np.testing.assert_allclose(evaluate_graph(fused, {"x": x})["y"], np.stack([sums] * 4, -1), atol=1e-4)
    assert operators(convolved("PadV2", np.float32(1)))["Pad"] == 1
    assert operators(convolved("Pad", padding="SAME"))["Pad"] == 1


def test_channels_first_and_last_give_the_same(rng: np.random.Generator) -> None:
    kernel = rng.normal(size=(3, 3, 3, 4)).astype(np.float32)
    x = rng.normal(size=(2, 7, 9, 3)).astype(np.float32)

    def convolved(data_format: str, image: np.ndarray) -> np.ndarray:
        graph = GraphMaker()
        name, w = graph.placeholder(image.shape), graph.constant(kernel)
        first = data_format == "NCHW"
        strides, window = ([1, 1, 2, 2], [1, 1, 3, 2]) if first else ([1, 2, 2, 1], [1, 3, 2, 1])
        y = graph.add("Conv2D", name, w, padding="SAME", strides=strides, data_format=data_format)
        y = graph.add("BiasAdd", y, graph.constant(np.arange(4, dtype=np.float32)), data_format=data_format)
        ones = graph.constant(np.ones(4, np.float32) * 2)
        y = graph.add("FusedBatchNorm", y, ones, ones, ones, ones, data_format=data_format, is_training=False)
        graph.add("MaxPool", y, padding="VALID", ksize=window, strides=[1, 1, 1, 1], data_format=data_format, name="y")
        return evaluate_graph(import_tensorflow(graph.bytes()), {"x": image})["y"]

    last, first = convolved("NHWC", x), convolved("NCHW", x.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(first.transpose(0, 2, 3, 1), last, atol=1e-5)


def test_constants_are_folded_before_they_are_needed() -> None:
    graph = GraphMaker()
    x = graph.placeholder((2, 3, 4))
    two = graph.constant(2)
    rest = graph.add("Range", graph.constant(0), two, graph.constant(1))
    permutation = graph.add("ConcatV2", graph.constant([2]), rest, graph.constant(0), N=2)
    moved = graph.add("Transpose", x, permutation)
    axis = graph.add("Sub", two, graph.constant(3))
    graph.add("ConcatV2", moved, moved, axis, N=2, name="y")
    assert import_tensorflow(graph.bytes()).outputs[0][1].type.shape == (4, 2, 6)


def test_shapes_of_symbolic_batches_are_followed(rng: np.random.Generator) -> None:
    graph = GraphMaker()
    x = graph.placeholder((-1, 4, 5, 2))
    batch = graph.add(
        "StridedSlice", graph.add("Shape", x), graph.constant([0]), graph.constant([1]), graph.constant([1]),
        shrink_axis_mask=1,
    )  # fmt: skip
    graph.add("Reshape", x, graph.add("Pack", batch, graph.constant(-1), N=2), name="y")
    network = import_tensorflow(graph.bytes())
    assert network.outputs[0][1].type.shape[1] == 40
    x = rng.normal(size=(3, 4, 5, 2)).astype(np.float32)
    np.testing.assert_array_equal(evaluate_graph(network, {"x": x})["y"], x.reshape(3, 40))


def test_a_built_network_computes_the_same_without_transposing(rng: np.random.Generator) -> None:
    graph = GraphMaker()
    x = graph.placeholder((-1, 8, 8, 1))
    for number, (inputs, outputs) in enumerate([(1, 4), (4, 6)]):
        kernel = graph.constant(rng.normal(size=(3, 3, inputs, outputs)).astype(np.float32))
        x = graph.add("Conv2D", x, kernel, padding="SAME", strides=[1, 1, 1, 1])
        x = graph.add("BiasAdd", x, graph.constant(rng.normal(size=outputs).astype(np.float32)))
        x = graph.add("MaxPool", graph.add("Relu", x), padding="VALID", ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1])
        assert number < 2
    flat = graph.add("Reshape", x, graph.constant([-1, 24]))
    product = graph.add("MatMul", flat, graph.constant(rng.normal(size=(24, 3)).astype(np.float32)))
    graph.add("Softmax", product, name="y")
    network = import_tensorflow(graph.bytes())
    verify(network)
    assert operators(optimise(network))["Transpose"] == 1
    engine = Engine(build(network, BuildConfig(level=0, timing_cache="")))
    image = rng.normal(size=(2, 8, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(engine({"x": image})["y"], evaluate_graph(network, {"x": image})["y"], atol=1e-5)


def test_all_unsupported_nodes_are_reported_together() -> None:
    graph = GraphMaker()
    x = graph.placeholder((2, 3))
    a = graph.add("NonMaxSuppression", x, name="nms")
    b = graph.add("Frobnicate", graph.add("Relu", a, name="relu"), name="frob_1")
    c = graph.add("Frobnicate", x, name="frob_2")
    d = graph.add("VariableV2", name="weights")
    e = graph.add("Mean", x, graph.add("Cast", graph.add("ArgMax", x, graph.constant(1)), DstT=FLOAT32), name="mean")
    graph.add("AddN", b, c, d, e, name="y", N=4)
    with pytest.raises(UnsupportedNodes) as caught:
        import_tensorflow(graph.bytes())
    found = {(finding.operator, finding.node) for finding in caught.value.findings}
    assert found == {
        ("NonMaxSuppression", "nms"), ("Frobnicate", "frob_1"), ("Frobnicate", "frob_2"), ("VariableV2", "weights"),
        ("Mean", "mean"),
    }  # fmt: skip
    message = str(caught.value)
    assert "5 nodes are not supported" in message
    assert "'frob_1', 'frob_2'" in message
    assert "convert_variables_to_constants" in message
    assert "the axes has to be known" in message


def test_an_unknown_output_is_answered_with_the_nearest_names() -> None:
    with pytest.raises(
        ImportFailure, match=r"there is no node 'fc2/Relu'; the nodes with the nearest names are 'fc/Relu'"
    ):
        import_tensorflow(small().bytes(), outputs=["fc2/Relu"])
    with pytest.raises(ImportFailure, match=r"output 1 of node 'fc/Relu' \(Relu\) is not supported"):
        import_tensorflow(small().bytes(), outputs=["fc/Relu:1"])


def test_an_attribute_that_nothing_is_known_of_is_reported() -> None:
    graph = GraphMaker()
    graph.add("Relu", graph.placeholder((2,)), name="y", sharpness=3)
    with pytest.raises(UnsupportedNodes, match="attribute sharpness is not supported"):
        import_tensorflow(graph.bytes())


def broken(make) -> str:
    graph = GraphMaker()
    make(graph)
    with pytest.raises(ImportFailure) as caught:
        import_tensorflow(graph.bytes())
    return str(caught.value)


def test_errors_name_node_operator_and_finding() -> None:
    def matrices(graph: GraphMaker) -> None:
        graph.add("MatMul", graph.placeholder((2, 3)), graph.constant(np.ones((4, 5), np.float32)), name="fc")

    assert "node 'fc' (MatMul): 'fc': MatMul" in broken(matrices)

    def channels(graph: GraphMaker) -> None:
        kernel = graph.constant(np.ones((1, 1, 4, 5), np.float32))
        graph.add("Conv2D", graph.placeholder((1, 8, 8, 3)), kernel, name="c", padding="SAME", strides=[1, 1, 1, 1])

    assert "node 'c' (Conv2D): the input has 3 channels, no multiple of the 4" in broken(channels)

    def padding(graph: GraphMaker) -> None:
        graph.add("MaxPool", graph.placeholder((1, 8, 8, 3)), name="p", padding="SAMEISH", ksize=[1, 2, 2, 1],
                  strides=[1, 1, 1, 1])  # fmt: skip

    assert "padding must be SAME, VALID or EXPLICIT, found SAMEISH" in broken(padding)

    def inputs(graph: GraphMaker) -> None:
        graph.add("Sub", graph.placeholder((1,)), name="s")

    assert "node 's' (Sub): expected 2 inputs, found 1" in broken(inputs)

    def attribute(graph: GraphMaker) -> None:
        graph.add("Cast", graph.placeholder((1,)), name="c")

    assert "node 'c' (Cast): attribute DstT is required, but absent" in broken(attribute)


def test_structural_damage_is_named() -> None:
    def missing(graph: GraphMaker) -> None:
        graph.add("Relu", "fc1/BiasAd", name="y")
        graph.placeholder((1,), "fc1/BiasAdd")

    message = broken(missing)
    assert "node 'y' (Relu) takes 'fc1/BiasAd', which the graph lacks; the nodes with the nearest names are" in message
    assert "'fc1/BiasAdd'" in message

    def cycle(graph: GraphMaker) -> None:
        graph.add("Add", "b", "b", name="a")
        graph.add("Relu", "a", name="b")
        graph.add("Relu", "a", name="c")

    assert "the nodes form a cycle: 'a' (Add) -> 'b' (Relu) -> 'a' (Add)" in broken(cycle)

    def loop(graph: GraphMaker) -> None:
        graph.add("Merge", graph.add("Enter", graph.placeholder((1,))), "next", name="merge")
        graph.add("NextIteration", "merge", name="next")
        graph.add("Exit", "merge", name="y")

    assert "while loops are not supported" in broken(loop)

    def twice(graph: GraphMaker) -> None:
        graph.placeholder((1,))
        graph.add("Relu", "x", name="x")

    assert "two nodes are called 'x', a Placeholder and a Relu" in broken(twice)

    def numbered(graph: GraphMaker) -> None:
        graph.placeholder((1,))
        graph.add("Relu", "x:first", name="y")

    assert "expected an input of the form name or name:number, found 'x:first'" in broken(numbered)
    assert "it has no nodes" in broken(lambda graph: None)


def constant_with(**fields: object) -> GraphMaker:
    graph = GraphMaker()
    graph.constant(np.zeros(2, np.float32), "c")
    tensor = graph.message.node[-1].attr["value"].tensor
    for name, value in fields.items():
        if name == "shape":
            del tensor.tensor_shape.dim[:]
            for extent in value:
                tensor.tensor_shape.dim.add(size=extent)
        else:
            setattr(tensor, name, value)
    graph.add("Relu", "c", name="y")
    return graph


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"shape": [3]}, r"float32\[3\] needs 12 bytes, found 8"),
        ({"shape": [1 << 62, 1 << 62]}, r"needs \d+ bytes, found 8"),
        (
            {"shape": [1 << 62, 1 << 62], "tensor_content": b""},
            r"found 0 elements to fill them; at most 268435456 bytes",
        ),
        ({"shape": [-1]}, r"a constant must have a known shape, found \(-1,\)"),
        ({"shape": [1] * 40}, r"a shape has 40 axes, expected at most 32"),
        ({"dtype": 99}, r"there is no element type number 99"),
    ],
)
def test_a_constant_that_lies_is_refused(fields: dict[str, object], expected: str) -> None:
    with pytest.raises(ImportFailure, match=rf"node 'c' \(Const\): .*{expected}"):
        import_tensorflow(constant_with(**fields).bytes())


def test_constants_of_types_that_are_not_supported_matter_only_where_they_are_used() -> None:
    graph = small()
    graph.constant(np.zeros(2, np.float32), "names")
    graph.message.node[-1].attr["value"].tensor.dtype = 7
    assert import_tensorflow(graph.bytes(), outputs=["fc/Relu"])
    with pytest.raises(UnsupportedNodes, match="element type string"):
        import_tensorflow(graph.bytes(), outputs=["fc/Relu", "names"])


def test_a_constant_repeats_its_last_element() -> None:
    graph = GraphMaker()
    graph.constant(np.arange(2, dtype=np.float32), "c", listed=True)
    tensor = graph.message.node[-1].attr["value"].tensor
    tensor.tensor_shape.dim[0].size = 5
    graph.add("Add", graph.placeholder((5,)), "c", name="y")
    found = evaluate_graph(import_tensorflow(graph.bytes()), {"x": np.zeros(5, np.float32)})
    assert found["y"].tolist() == [0, 1, 1, 1, 1]


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportFailure, match="cannot be read"):
        import_tensorflow(tmp_path / "missing.pb")
    for content, expected in ((b"", "empty"), (b"\x0a\xff\xff\xff\x0f12", "damaged or truncated")):
        file = tmp_path / "g.pb"
        file.write_bytes(content)
        with pytest.raises(ImportFailure, match=expected):
            import_tensorflow(file)
    with pytest.raises(ImportFailure, match="found int"):
        import_tensorflow(3)  # type: ignore[arg-type]
