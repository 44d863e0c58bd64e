"""Frozen graphs converted to UFF and read back compute what they did; the files hold what converters always wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tensorflow_oracle
from tensorflow_cases import CASES, REMOVED, Case
from tensorflow_graphs import GraphMaker, Shape
from tensorwright.api.uff_parser import _operator_of_tensorflow
from tensorwright.base.errors import ImportFailure
from tensorwright.compat import uff
from tensorwright.compat.uff.command import main
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.importers.failures import UnsupportedNodes
from tensorwright.importers.tensorflow import import_tensorflow
from tensorwright.importers.uff import RegisteredInput, import_uff
from tensorwright.importers.uff.fields import Field, field_value
from tensorwright.importers.uff.messages import INCREMENT
from tensorwright.importers.uff.read import UffModel, read_model
from tensorwright.tensor.dtype import FLOAT32, INT32

EXPECTED = np.load(tensorflow_oracle.EXPECTED)
LAST, FIRST = (0, 2, INCREMENT, 1), (0, 1, 2, INCREMENT)
KERNEL = (2, INCREMENT, 1, 0)
WITHOUT_BOOL = {"LogicalAnd", "LogicalOr", "LogicalNot", "Equal-bools", "Select", "All", "Any"}
"""UFF cannot hold inputs or constants of bools."""
SEVERAL_OUTPUTS = {"TopK", "TopKV2"}


def batch_of(case: Case) -> int | None:
    """The common first extent of a case's inputs; None where they have none."""
    _, inputs, _ = case.build()
    extents = {array.shape[0] if array.ndim > 1 else None for array in inputs.values()}
    return next(iter(extents), 1) if len(extents) <= 1 else None


UNCONVERTIBLE = REMOVED | WITHOUT_BOOL | SEVERAL_OUTPUTS
CONVERTIBLE = [case for case in CASES if batch_of(case) and not {case.operator, case.name} & UNCONVERTIBLE]


@pytest.mark.parametrize("case", CONVERTIBLE, ids=lambda case: case.name)
def test_a_converted_operator_gives_what_tensorflow_gave(case: Case) -> None:
    graph, inputs, outputs = case.build()
    model = uff.from_tensorflow(graph.message, outputs, quiet=True)
    given = {name: RegisteredInput(x.shape[1:], "NHWC" if x.ndim >= 4 else "NC") for name, x in inputs.items()}
    network = import_uff(model, given, batch=batch_of(case), custom=_operator_of_tensorflow)
    found = evaluate_graph(network, {name: inputs[name] for name, _ in network.inputs})
    for name, array in zip(outputs, found.values(), strict=True):
        expected = EXPECTED[f"{case.name}/{name}"]
        assert array.shape == expected.shape
        scale = max(1.0, float(np.abs(expected.astype(float)).max(initial=0)))
        np.testing.assert_allclose(array.astype(float), expected.astype(float), rtol=0, atol=case.tolerance * scale)


def test_most_cases_are_converted() -> None:
    assert len(CONVERTIBLE) > 240


def converted(graph: GraphMaker, *outputs: str, **options: object) -> UffModel:
    return read_model(uff.from_tensorflow(graph.message, list(outputs), quiet=True, **options))


def node(model: UffModel, name: str) -> tuple[str, list[str], dict[str, Field]]:
    """Operation, inputs and fields of a node."""
    found = model.nodes[name]
    fields = {key: field_value(key, data, model.referenced) for key, data in found.fields.items()}
    return found.operation, list(found.inputs), fields


def network() -> GraphMaker:
    graph = GraphMaker()
    x = graph.placeholder((-1, 8, 8, 3), "input")
    w = graph.constant(np.ones((3, 3, 3, 4), np.float32), "conv/weights")
    read = graph.add("Identity", w, name="conv/weights/read")
    y = graph.add("Conv2D", x, read, name="conv/Conv2D", padding="SAME", strides=[1, 2, 2, 1], data_format="NHWC")
    y = graph.add("BiasAdd", y, graph.constant(np.arange(4, dtype=np.float32), "conv/biases"), name="conv/BiasAdd")
    y = graph.add("Relu", y, name="conv/Relu")
    y = graph.add("MaxPool", y, name="pool", padding="VALID", ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1])
    y = graph.add("Reshape", y, graph.constant([-1, 16], "flatten/shape"), name="flatten/Reshape")
    y = graph.add("MatMul", y, graph.constant(np.ones((16, 5), np.float32), "fc/weights"), name="fc/MatMul")
    y = graph.add("Mean", y, graph.constant([1], "axes"), name="mean", keep_dims=True)
    graph.add("Softmax", y, name="out")
    return graph


def test_nodes_fields_and_their_order_are_those_of_the_format() -> None:
    model = converted(network(), "out")
    assert list(model.nodes) == [
        "out", "mean", "fc/MatMul", "fc/weights", "flatten/Reshape", "pool", "conv/Relu", "conv/biases", "conv/BiasAdd",
        "conv/Conv2D", "conv/weights", "input", "MarkOutput_0",
    ]  # fmt: skip
    assert node(model, "input") == ("Input", [], {"dtype": FLOAT32, "shape": (-1, 8, 8, 3)})
    assert node(model, "conv/Conv2D") == (
        "Conv", ["input", "conv/weights"],
        {"inputs_orders": (LAST, KERNEL), "strides": (2, 2), "implicit_padding": "same"},
    )  # fmt: skip
    assert node(model, "conv/BiasAdd") == ("Binary", ["conv/Conv2D", "conv/biases"], {"func": "add"})
    assert node(model, "conv/Relu") == ("Activation", ["conv/BiasAdd"], {"func": "relu"})
    assert node(model, "pool") == (
        "Pool", ["conv/Relu"], {"func": "max", "kernel": (2, 2), "strides": (2, 2), "inputs_orders": (LAST,)}
    )  # fmt: skip
    assert node(model, "flatten/Reshape") == ("Flatten", ["pool"], {})
    assert node(model, "fc/MatMul") == (
        "FullyConnected", ["flatten/Reshape", "fc/weights"], {"inputs_orders": ((0, 1), (1, 0))}
    )  # fmt: skip
    assert node(model, "mean") == ("Reduce", ["fc/MatMul"], {"func": "mean", "axes": (1,), "keepdims": True})
    assert node(model, "out") == ("Softmax", ["mean"], {"axis": 0, "inputs_orders": (LAST,)})
    assert node(model, "MarkOutput_0") == ("MarkOutput", ["out"], {})
    operation, _, fields = node(model, "conv/biases")
    assert (operation, fields) == (
        "Const", {"dtype": FLOAT32, "shape": (4,), "values": np.arange(4, dtype=np.float32).tobytes()}
    )  # fmt: skip
    assert set(model.referenced) == {
        "orders_N+C", "orders_N+C_+CK", "orders_NC_CK", "weights_conv/biases", "weights_conv/weights",
        "weights_fc/weights",
    }  # fmt: skip


def test_the_whole_network_computes_the_same(rng: np.random.Generator) -> None:
    graph = network()
    x = rng.normal(size=(2, 8, 8, 3)).astype(np.float32)
    expected = evaluate_graph(import_tensorflow(graph.bytes(), outputs=["fc/MatMul"]), {"input": x})["fc/MatMul"]
    data = uff.from_tensorflow(graph.message, ["fc/MatMul"], quiet=True)
    read = import_uff(data, {"input": RegisteredInput((3, 8, 8))})
    found = evaluate_graph(read, {"input": x.transpose(0, 3, 1, 2)})
    np.testing.assert_allclose(found["fc/MatMul"], expected, atol=1e-4)


def test_pow_keeps_its_exponent() -> None:
    graph = GraphMaker()
    graph.add("Pow", graph.placeholder((-1, 3)), graph.constant(np.float32(3), "three"), name="y")
    assert node(converted(graph, "y"), "y") == ("Binary", ["x", "three"], {"func": "pow"})


def test_a_symmetric_pad_becomes_padding_and_another_one_stays() -> None:
    for pads, fused in (([2, 2], True), ([2, 1], False)):
        graph = GraphMaker()
        amounts = graph.constant([[0, 0], pads, [1, 1], [0, 0]])
        wide = graph.add("Pad", graph.placeholder((-1, 8, 8, 3)), amounts, name="pad")
        kernel = graph.constant(np.ones((3, 3, 3, 4), np.float32), "w")
        graph.add("Conv2D", wide, kernel, name="y", padding="VALID", strides=[1, 1, 1, 1])
        model = converted(graph, "y")
        operation, inputs, fields = node(model, "y")
        assert operation == "Conv"
        assert (inputs[0], fields.get("padding")) == (("x", (2, 1)) if fused else ("pad", None))
        assert ("pad" in model.nodes) != fused


def test_explicit_padding_that_is_not_symmetric_gets_a_pad() -> None:
    graph = GraphMaker()
    kernel = graph.constant(np.ones((3, 3, 3, 4), np.float32), "w")
    pads = [0, 0, 1, 0, 2, 2, 0, 0]
    graph.add("Conv2D", graph.placeholder((-1, 8, 8, 3)), kernel, name="y", padding="EXPLICIT", strides=[1, 1, 1, 1],
              explicit_paddings=pads)  # fmt: skip
    model = converted(graph, "y")
    assert node(model, "y/padded")[:2] == ("Pad", ["x", "y/paddings"])
    assert node(model, "y")[1] == ["y/padded", "w"]


def test_convolutions_of_blocks_become_dilated_ones() -> None:
    graph = GraphMaker()
    blocks = graph.add("SpaceToBatchND", graph.placeholder((-1, 8, 8, 3)), graph.constant([2, 2]),
                       graph.constant([[2, 2], [2, 2]]), name="to_batch")  # fmt: skip
    kernel = graph.constant(np.ones((3, 3, 3, 4), np.float32), "w")
    inner = graph.add("Conv2D", blocks, kernel, name="conv", padding="VALID", strides=[1, 1, 1, 1])
    graph.add("BatchToSpaceND", inner, graph.constant([2, 2]), graph.constant([[0, 0], [0, 0]]), name="y")
    model = converted(graph, "y")
    assert set(model.nodes) == {"y", "w", "x", "MarkOutput_0"}
    fields = {"inputs_orders": (LAST, KERNEL), "strides": (1, 1), "dilation": (2, 2), "padding": (2, 2)}
    assert node(model, "y") == ("Conv", ["x", "w"], fields)


def test_depthwise_transposed_and_channels_first() -> None:
    graph = GraphMaker()
    x = graph.placeholder((-1, 4, 8, 8))
    kernel = graph.constant(np.ones((3, 3, 4, 2), np.float32), "w")
    attributes = {"padding": "SAME", "strides": [1, 1, 2, 2], "data_format": "NCHW"}
    y = graph.add("DepthwiseConv2dNative", x, kernel, name="depthwise", **attributes)
    y = graph.add("BiasAdd", y, graph.constant(np.arange(8, dtype=np.float32), "b"), name="bias", data_format="NCHW")
    sizes, filters = graph.constant([1, 3, 8, 8], "sizes"), graph.constant(np.ones((2, 2, 3, 8), np.float32), "v")
    graph.add("Conv2DBackpropInput", sizes, filters, y, name="y", **attributes)
    model = converted(graph, "y")
    assert node(model, "depthwise") == (
        "Conv", ["x", "w"],
        {"inputs_orders": (FIRST, KERNEL), "strides": (2, 2), "implicit_padding": "same", "number_groups": 4},
    )  # fmt: skip
    assert node(model, "y") == (
        "ConvTranspose", ["bias", "v", "sizes"],
        {"inputs_orders": (FIRST, (2, INCREMENT, 0, 1)), "strides": (2, 2), "implicit_padding": "same"},
    )  # fmt: skip
    bias = node(model, node(model, "bias")[1][1])[2]
    assert (bias["shape"], bias["values"]) == ((8, 1, 1), np.arange(8, dtype=np.float32).tobytes())


def test_groups_that_only_the_channels_say_are_written(rng: np.random.Generator) -> None:
    graph = GraphMaker()
    kernel = rng.normal(size=(1, 1, 2, 6)).astype(np.float32)
    graph.add("Conv2D", graph.placeholder((-1, 5, 5, 4)), graph.constant(kernel, "w"), name="y", padding="VALID",
              strides=[1, 1, 1, 1])  # fmt: skip
    assert node(converted(graph, "y"), "y")[2]["number_groups"] == 2
    x = rng.normal(size=(2, 5, 5, 4)).astype(np.float32)
    read = import_uff(uff.from_tensorflow(graph.message, quiet=True), {"x": RegisteredInput((5, 5, 4), "NHWC")})
    expected = np.concatenate([x[..., :2] @ kernel[0, 0, :, :3], x[..., 2:] @ kernel[0, 0, :, 3:]], -1)
    np.testing.assert_allclose(evaluate_graph(read, {"x": x})["y"], expected, atol=1e-5)


def test_computed_permutations_and_axes_are_no_obstacle() -> None:
    graph = GraphMaker()
    x = graph.placeholder((-1, 3, 4))
    parts = [graph.constant([0]), graph.add("Range", graph.constant(2), graph.constant(0), graph.constant(-1))]
    moved = graph.add("Transpose", x, graph.add("ConcatV2", *parts, graph.constant(0), N=2), name="moved")
    graph.add("ConcatV2", moved, moved, graph.add("Neg", graph.constant(1)), name="y", N=2)
    model = converted(graph, "y")
    assert node(model, "moved") == ("Transpose", ["x"], {"permutation": (0, 2, 1)})
    assert node(model, "y") == ("Concat", ["moved", "moved"], {"axis": -1})
    graph.add("Transpose", x, graph.add("Cast", graph.add("Shape", x), DstT=INT32), name="z")
    with pytest.raises(UnsupportedNodes, match="the permutation has to be a constant, it depends on an input"):
        converted(graph, "z")


def test_parts_of_a_split_become_slices(rng: np.random.Generator) -> None:
    graph = GraphMaker()
    x = graph.placeholder((-1, 6))
    graph.add("Split", graph.constant(-1), x, name="parts", num_split=3)
    graph.add("Sub", "parts:2", "parts", name="y")
    model = converted(graph, "y")
    assert node(model, "y")[:2] == ("Binary", ["parts:2", "parts"])
    array = rng.normal(size=(2, 6)).astype(np.float32)
    read = import_uff(uff.from_tensorflow(graph.message, ["y"], quiet=True), {"x": RegisteredInput((6,), "NC")})
    np.testing.assert_allclose(evaluate_graph(read, {"x": array})["y"], array[:, 4:] - array[:, :2])


def test_other_operators_become_custom_nodes_with_all_attributes(capsys: pytest.CaptureFixture[str]) -> None:
    graph = GraphMaker()
    graph.add("FrobV2", graph.placeholder((-1, 3)), name="y", speed=2.5, mode="fast", sizes=[1, 2], T=FLOAT32,
              count=7, exact=True, shape=Shape((2, -1)), _output_shapes=[1])  # fmt: skip
    model = read_model(uff.from_tensorflow(graph.message, ["y"], debug_mode=True))
    assert node(model, "y") == (
        "_FrobV2", ["x"],
        {"speed": 2.5, "mode": "fast", "sizes": (1, 2), "T": FLOAT32, "count": 7, "exact": True, "shape": (2, -1)},
    )  # fmt: skip
    said = capsys.readouterr().out
    assert "node 'y' becomes the custom operator _FrobV2" in said
    assert "1 × FrobV2: no operator of UFF, written as _FrobV2" in said


def test_what_uff_cannot_hold_is_an_error() -> None:
    graph = GraphMaker()
    graph.placeholder((-1, 3), "flags", "bool")
    graph.add("LogicalNot", "flags", name="y")
    with pytest.raises(ImportFailure, match="input 'flags': UFF has no element type bool, it has float16, float32"):
        converted(graph, "y")
    graph = GraphMaker()
    graph.add("TopKV2", graph.placeholder((-1, 3)), graph.constant(1), name="top")
    graph.add("Neg", "top:1", name="y")
    with pytest.raises(UnsupportedNodes, match="output 1 is used; nodes of UFF have one output"):
        converted(graph, "y")
    graph = GraphMaker()
    graph.add("VariableV2", name="w")
    graph.add("Neg", "w", name="y")
    with pytest.raises(UnsupportedNodes, match="a variable; freeze the graph first"):
        converted(graph, "y")


def test_what_does_not_fit_is_named() -> None:
    graph = GraphMaker()
    x = graph.placeholder((-1, 8, 8, 3))
    graph.add("ConcatV2", name="joined")
    graph.add("ConcatV2", x, graph.constant([0, 1]), name="axes")
    graph.add("Unpack", graph.placeholder((1 << 20, 2), "long"), name="parts", axis=0)
    graph.add("Conv2D", x, graph.constant(np.float32([1])), name="conv", padding="VALID", strides=[1, 1, 1, 1])
    graph.add("MatMul", x, "nothing", name="lost")
    for output, message in {
        "joined": r"node 'joined' \(ConcatV2\): expected at least 2 inputs, found 0",
        "axes": r"node 'axes' \(ConcatV2\): the axis must be one number, found \[0, 1\]",
        "parts": r"node 'parts' \(Unpack\): a tensor in 1048576 parts; expected 1 to 16384",
        "lost": "there is no node 'nothing'",
    }.items():
        with pytest.raises(ImportFailure, match=message):
            converted(graph, output)
    assert node(converted(graph, "conv"), "conv")[0] == "Conv"


def test_double_constants_become_single_ones() -> None:
    graph = GraphMaker()
    graph.constant(np.array([1.5, 2.5]), "c")
    graph.add("Identity", "c", name="y")
    assert node(converted(graph, "y"), "c")[2]["values"] == np.array([1.5, 2.5], np.float32).tobytes()
    graph.constant(np.float64(2.5), "scalar")
    assert node(converted(graph, "scalar"), "scalar")[2]["values"] == np.float32(2.5).tobytes()
    graph.constant(np.array([1e300]), "large")
    with pytest.raises(ImportFailure, match=r"constant 'large': an element is outside of float32"):
        converted(graph, "large")


def test_files_text_and_information_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph, target = network(), tmp_path / "model.uff"
    data, inputs, outputs = uff.from_tensorflow(
        graphdef=graph.message, output_filename=target, output_nodes=["out"], text=True, return_graph_info=True,
        write_preprocessed=True,
    )  # fmt: skip
    assert target.read_bytes() == data
    assert [one.name for one in inputs] == ["input"]
    assert [one.name for one in outputs] == ["out"]
    text = target.with_suffix(".pbtxt").read_text()
    assert 'operation: "FullyConnected"' in text
    assert "(432 bytes are left out)" in text
    assert import_tensorflow(target.with_suffix(".pb"))
    said = capsys.readouterr().out
    assert "input 'input'\noutput 'out'\n13 nodes\n" in said
    assert f"written: {target} ({len(data)} bytes)" in said


def test_the_same_graph_gives_the_same_bytes() -> None:
    assert uff.from_tensorflow(network().message, "out", quiet=True) == uff.from_tensorflow(
        network().bytes(), ["out"], quiet=True
    )


def test_outputs_are_deduced_and_unknown_ones_answered(capsys: pytest.CaptureFixture[str]) -> None:
    uff.from_tensorflow(network().message)
    assert "output 'out' (nothing takes its result)" in capsys.readouterr().out
    with pytest.raises(ImportFailure, match=r"no node 'fc/Matmul'; the nodes with the nearest names are 'fc/MatMul'"):
        uff.from_tensorflow(network().message, ["fc/Matmul"])


def test_inputs_can_be_put_in_place_of_nodes() -> None:
    model = converted(network(), "out", input_nodes=["pool,features,float32,-1,2,2,4"])
    assert node(model, "features") == ("Input", [], {"dtype": FLOAT32, "shape": (-1, 2, 2, 4)})
    assert node(model, "flatten/Reshape")[1] == ["features"]
    assert "conv/Conv2D" not in model.nodes
    wrong = {
        "pool,p": "must be written name,new_name",
        "pool,p,floaty,1": "found 'floaty'",
        "pool,p,float,a": "dimensions must be integers",
        "pol,p,float,1": "no node 'pol'",
    }
    for given, expected in wrong.items():
        with pytest.raises(ImportFailure, match=expected):
            converted(network(), "out", input_nodes=[given])


@pytest.fixture
def frozen(tmp_path: Path) -> Path:
    file = tmp_path / "frozen.pb"
    file.write_bytes(network().bytes())
    return file


def test_the_command_in_both_forms(frozen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    early, later = tmp_path / "early.uff", tmp_path / "later.uff"
    assert main(["tensorflow", "-o", str(early), "--input-file", str(frozen), "-O", "fc/MatMul"]) == 0
    assert main([str(frozen), "-o", str(later), "-O", "fc/MatMul", "-t"]) == 0
    assert (
        early.read_bytes()
        == later.read_bytes()
        == uff.from_tensorflow_frozen_model(str(frozen), ["fc/MatMul"], quiet=True)
    )
    assert later.with_suffix(".pbtxt").exists()
    capsys.readouterr()
    assert main([str(frozen), "-q"]) == 0
    assert capsys.readouterr().out == ""
    assert frozen.with_suffix(".uff").exists()


def test_the_command_lists_nodes(frozen: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["tensorflow", "--input-file", str(frozen), "-l"], [str(frozen), "-l"]):
        assert main(arguments) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 15
        assert lines[3].split() == ["4", "Conv2D", "conv/Conv2D"]
    assert not frozen.with_suffix(".uff").exists()


def test_the_command_says_what_is_wrong_in_one_line(frozen: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tensorflow", "--input-file", str(frozen), "-O", "fc2/MatMul"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("convert-to-uff: ")
    assert "'fc/MatMul'" in error
    assert main([str(frozen.with_name("missing.pb"))]) == 1
    assert "cannot be read" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["tensorflow"])
