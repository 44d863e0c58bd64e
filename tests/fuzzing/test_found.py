"""What hostile inputs have found: each has to be accepted or refused in one of the project's errors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import FunctionProto, TensorProto, ValueInfoProto, helper

from fuzzing import seeds, taking
from fuzzing.checking import judge
from fuzzing.targets import TARGETS
from importers.onnx.models import model_of, node
from tensorflow_graphs import GraphMaker

BY_NAME = {target.name: target for target in TARGETS}


def long_pooling() -> bytes:
    graph = GraphMaker()
    x = graph.placeholder((2, (1 << 31) - 1, 6, 4), "x0")
    graph.add("MaxPool", x, name="y", padding="SAME", ksize=[1, 3, 3, 1], strides=[1, 2, 2, 1])
    return graph.bytes()


def index_that_small_inputs_do_not_have() -> bytes:
    nodes = [node("Gather", "x i", "y")]
    model = model_of(nodes, {"x": (TensorProto.FLOAT, ["m"])}, ["y"], constants={"i": np.array([2])})
    return model.SerializeToString()


def segment() -> bytes:
    model = model_of(
        [node("Add", "x w", "y")], {"x": (TensorProto.FLOAT, [2])}, ["y"], constants={"w": np.float32([1, 2])}
    )
    model.graph.initializer[0].segment.begin = 1
    return model.SerializeToString()


def loop_without_body() -> bytes:
    model = model_of([node("Loop", "_ _ i", "y", inverse=1)], {"i": (TensorProto.INT64, [])}, ["y"])
    return model.SerializeToString()


def no_opset() -> bytes:
    model = model_of([node("Softmax", "x", "y", axis=0)], {"x": (TensorProto.FLOAT, [2, 3])}, ["y"])
    model.opset_import[0].domain = "-1"
    return model.SerializeToString()


def celu_of_zero() -> bytes:
    return model_of([node("Celu", "x", "y", alpha=0.0)], {"x": (TensorProto.FLOAT, [2])}, ["y"]).SerializeToString()


def too_many_outputs() -> bytes:
    nodes = [node("NonZero", "x", "n"), node("Equal", "x x", "e o o"), node("Identity", "n", "y")]
    return model_of(nodes, {"x": (TensorProto.FLOAT, [2])}, ["y", "e"]).SerializeToString()


def strings_without_data() -> bytes:
    model = model_of([node("Tile", "x c", "y")], {"x": (TensorProto.FLOAT, [2, 3])}, ["y"])
    model.graph.initializer.add(name="c", dims=[4], data_type=TensorProto.STRING)
    return model.SerializeToString()


def long_padding() -> bytes:
    nodes = [node("MaxPool", "x", "y", kernel_shape=[3, 3], pads=[1 << 31, 0, 0, 0])]
    return model_of(nodes, {"x": (TensorProto.FLOAT, [1, 2, 8, 8])}, ["y"]).SerializeToString()


def channels_that_an_update_may_not_have() -> bytes:
    inputs = {"c": (TensorProto.FLOAT, [2, "n", 4, 5]), "u": (TensorProto.FLOAT, [2, 1, 1, 5])}
    nodes = [node("TensorScatter", "c u i", "y", axis=2)]
    return model_of(nodes, inputs, ["y"], constants={"i": np.array([0, 1])}, opset=24).SerializeToString()


def mean_of_many_bytes() -> bytes:
    inputs = {"x": (TensorProto.UINT8, [2, 3, 48, 6])}
    return model_of([node("GlobalAveragePool", "x", "y")], inputs, ["y"]).SerializeToString()


def search_in_nothing() -> bytes:
    model = model_of([node("NonZero", "x", "n"), node("Relu", "x", "y")], {"x": (TensorProto.FLOAT, [2])}, ["n", "y"])
    del model.graph.node[0].input[:]
    model.graph.node[0].attribute.append(helper.make_attribute("value", 2))
    return model.SerializeToString()


def far_response() -> bytes:
    nodes = [node("LRN", "x", "y", size=(1 << 41) + 1)]
    return model_of(nodes, {"x": (TensorProto.FLOAT, [1, 9, 1, 2])}, ["y"]).SerializeToString()


def deconvolution_of_nothing() -> bytes:
    inputs = {"x": (TensorProto.FLOAT, [0, 4, 3, 3])}
    weights = {"w": np.ones((4, 2, 3, 3), np.float32)}
    return model_of([node("ConvTranspose", "x w", "y")], inputs, ["y"], constants=weights).SerializeToString()


def tiled_channels() -> bytes:
    """Of these the last block has more lanes of padding than the tile has channels."""
    nodes = [node("Tile", "x r", "t"), node("Conv", "t w", "y", group=12)]
    constants = {"r": np.array([1, 3, 1, 1, 1]), "w": np.ones((24, 1, 3, 3, 2), np.float32)}
    return model_of(nodes, {"x": (TensorProto.FLOAT, [1, 4, 5, 5, 2])}, ["y"], constants=constants).SerializeToString()


def long_reflection() -> bytes:
    inputs = {"x": (TensorProto.FLOAT, ["batch", 5])}
    model = model_of([node("Pad", "x p", "y", mode="reflect")], inputs, ["y"], constants={"p": np.array([1, 0, 8, 0])})
    return model.SerializeToString()


def empty_of_open_extents() -> bytes:
    inputs = {"x": (TensorProto.FLOAT, ["n", "n", 0])}
    constants = {"c": np.float32(2)}
    return model_of(
        [node("Shape", "x", "s"), node("Expand", "c s", "y")], inputs, ["y"], constants=constants
    ).SerializeToString()


def sizes_that_are_negative_for_small_inputs() -> bytes:
    nodes = [node("Conv", "x w", "t"), node("Pad", "t p", "y")]
    constants = {"w": np.ones((3, 2, 3, 3), np.float32), "p": np.array([0, 0, 3, 3, 0, 0, 3, 3])}
    return model_of(nodes, {"x": (TensorProto.FLOAT, [1, 2, "n", 5])}, ["y"], constants=constants).SerializeToString()


def window_without_a_place() -> bytes:
    weights = {"w": np.ones((1, 8, 3, 3), np.float32)}
    inputs = {"x": (TensorProto.FLOAT, [1, 8, "m", 4])}
    model = model_of([node("Conv", "x w", "y", strides=[2, 1])], inputs, ["y"], constants=weights)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 2
    return model.SerializeToString()


def far_diagonal() -> bytes:
    model = model_of(
        [node("Trilu", "x k", "y")], {"x": (TensorProto.FLOAT, [2, 3])}, ["y"], constants={"k": np.array((1 << 63) - 1)}
    )
    return model.SerializeToString()


def negative_powers() -> bytes:
    exponents = {"e": np.int32([[-2], [-1], [0], [3]])}
    model = model_of([node("Pow", "x e", "y")], {"x": (TensorProto.INT32, [5])}, ["y"], constants=exponents)
    return model.SerializeToString()


def giant_antialias() -> bytes:
    inputs = {"x": (TensorProto.FLOAT, [1, 1, 4, 4])}
    model = model_of([node("Resize", "x _ _ s", "y", mode="linear", antialias=1)], inputs, ["y"],
                     constants={"s": np.array([1, 1, 1 << 40, 2])})  # fmt: skip
    return model.SerializeToString()


def giant_cells() -> bytes:
    inputs = {"x": (TensorProto.FLOAT, [1, 1, 4, 4]), "r": (TensorProto.FLOAT, [0, 4]), "b": (TensorProto.INT64, [0])}
    nodes = [node("RoiAlign", "x r b", "y", output_height=1 << 31, sampling_ratio=1)]
    return model_of(nodes, inputs, ["y"]).SerializeToString()


def shape_of_negative_extents() -> bytes:
    return model_of(
        [node("ConstantOfShape", "s", "y")], {}, ["y"], constants={"s": np.array([2, -3])}
    ).SerializeToString()


def giant_deformation() -> bytes:
    inputs = {"x": (TensorProto.FLOAT, [1, 1, 3, 3]), "o": (TensorProto.FLOAT, [1, 8, 2, 1 << 31])}
    weights = {"w": np.ones((1, 1, 2, 2), np.float32)}
    return model_of([node("DeformConv", "x w o", "y")], inputs, ["y"], constants=weights).SerializeToString()


def bound_of_rank_1() -> bytes:
    inputs = {"x": (TensorProto.FLOAT, []), "m": (TensorProto.FLOAT, [1])}
    return model_of([node("Clip", "x _ m", "y")], inputs, ["y"]).SerializeToString()


def scan_without_a_state() -> bytes:
    infos = [[ValueInfoProto(name=name) for name in text.split()] for text in ("s p", "n e")]
    body = helper.make_graph([node("Add", "s p", "n"), node("Identity", "n", "e")], "body", *infos)
    nodes = [node("Scan", "_ x", "y z", num_scan_inputs=1, body=body)]
    return model_of(nodes, {"x": (TensorProto.FLOAT, [3, 2])}, ["y", "z"]).SerializeToString()


def recursion_behind_an_unknown_operator() -> bytes:
    again = helper.make_function(
        "own", "Again", ["x"], ["y"], [node("Again", "x", "y", domain="own")], [helper.make_opsetid("own", 1)]
    )
    nodes = [node("Mystery", "x", "m", domain="own"), node("Again", "m", "y", domain="own")]
    inputs = {"x": (TensorProto.FLOAT, [2])}
    return model_of(nodes, inputs, ["y"], domains={"own": 1}, functions=[again]).SerializeToString()


def quotient_of_an_extent() -> bytes:
    inputs = {"x": (TensorProto.FLOAT16, ["n", 1, "n"])}
    nodes = [node("Reshape", "x s", "r"), node("Cos", "r", "y")]
    return model_of(nodes, inputs, ["y"], constants={"s": np.array([-1, 5])}).SerializeToString()


def gathered_from_nothing() -> bytes:
    inputs = {"x": (TensorProto.FLOAT, [0]), "i": (TensorProto.INT64, [3, 2])}
    return model_of([node("Gather", "x i", "y")], inputs, ["y"]).SerializeToString()


def computed_coordinates() -> bytes:
    inputs = {"x": (TensorProto.FLOAT, [1, "a", "b", "c"]), "o": (TensorProto.FLOAT, [1, 16, 2, 2])}
    inputs["w"] = (TensorProto.FLOAT, ["d", "e", 2, 2])
    return model_of([node("DeformConv", "x w o", "y", offset_group=2)], inputs, ["y"]).SerializeToString()


def difference_of_truth_values() -> bytes:
    return model_of([node("Shrink", "x", "y")], {"x": (TensorProto.BOOL, [])}, ["y"], opset=9).SerializeToString()


def wide_recurrence() -> bytes:
    inputs = {"x": (TensorProto.FLOAT, [1, 1, 1]), "w": (TensorProto.FLOAT, [1, 12, 1])}
    inputs["r"] = (TensorProto.FLOAT, [1, 12, 1 << 31])
    return model_of([node("LSTM", "x w r", "y", hidden_size=3)], inputs, ["y"]).SerializeToString()


def more_outputs_said_than_there() -> bytes:
    nodes = [node("Split", "x", "y z", num_outputs=4)]
    return model_of(nodes, {"x": (TensorProto.FLOAT, [8])}, ["y", "z"]).SerializeToString()


def many_scanned_inputs() -> bytes:
    body = helper.make_graph([], "", [], [])
    model = model_of([node("Scan", "_ x", "y", num_scan_inputs=1 << 40, body=body)], {"x": (1, [2])}, ["y"], opset=8)
    return model.SerializeToString()


def long_concatenation() -> bytes:
    inputs = {"x": (TensorProto.FLOAT, [1, 8, 16]), "z": (TensorProto.FLOAT, [1, (1 << 31) - 1, 16])}
    return model_of([node("Concat", "x z", "y", axis=1)], inputs, ["y"]).SerializeToString()


def byte_too_many() -> bytes:
    model = model_of([node("Cast", "w", "y", to=1)], {}, ["y"])
    model.graph.initializer.add(name="w", dims=[], data_type=TensorProto.INT4, raw_data=b"12")
    return model.SerializeToString()


def rows_that_small_inputs_do_not_have() -> bytes:
    nodes = [node("RotaryEmbedding", "x c s p", "y", rotary_embedding_dim=4)]
    inputs = {"x": (1, ["b", 4, 3, "d"]), "c": (1, ["e", "f"]), "s": (1, ["g", "h"]), "p": (7, ["b", 3])}
    return model_of(nodes, inputs, ["y"], opset=23).SerializeToString()


def expansion_to_negative_extents() -> bytes:
    nodes = [node("Expand", "x s", "t"), node("ReduceSum", "t", "y", keepdims=0)]
    return model_of(nodes, {"x": (1, [2, 1])}, ["y"], constants={"s": np.array([2, -1])}).SerializeToString()


def frames_longer_than_the_signal() -> bytes:
    constants = {"s": np.array(5), "n": np.array(1 << 31)}
    model = model_of([node("STFT", "x s _ n", "y")], {"x": (1, ["b", 1])}, ["y"], constants=constants, opset=17)
    return model.SerializeToString()


def negative_threshold() -> bytes:
    inputs = {"x": (1, [3, 1, 2]), "w": (1, [1, 4, 2]), "r": (1, [1, 4, 4])}
    model = model_of([node("RNN", "x w r", "_ y", hidden_size=4, clip=-1.0)], inputs, ["y"])
    return model.SerializeToString()


def many_bits() -> bytes:
    graph = GraphMaker()
    graph.add("FakeQuantWithMinMaxArgs", graph.placeholder((2, 3), "x0"), name="y", num_bits=1 << 40)
    return graph.bytes()


def no_axes() -> bytes:
    constants = {"a": np.zeros(0, np.int64)}
    return model_of([node("Squeeze", "x a", "y")], {"x": (1, [1, 2])}, ["y"], constants=constants).SerializeToString()


def large_power() -> bytes:
    return model_of([node("Pow", "x x", "y")], {}, ["y"], constants={"x": np.int32([4, 64, 8])}).SerializeToString()


def windows_apart() -> bytes:
    nodes = [node("AveragePool", "x", "y", auto_pad="SAME_UPPER", kernel_shape=[3, 3], strides=[2, 8])]
    return model_of(nodes, {"x": (1, [1, 2, 5, 5])}, ["y"]).SerializeToString()


def windows_of_padding() -> bytes:
    nodes = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "d"),
             node("MaxPool", "d", "m", kernel_shape=[3], strides=[2], pads=[0, 3]), node("Exp", "m", "y")]  # fmt: skip
    constants = {"s": np.float32(0.03125), "z": np.uint8(153)}
    return model_of(nodes, {"x": (1, [2, 3, 4])}, ["y"], constants=constants, opset=13).SerializeToString()


def nearly_a_sixth() -> bytes:
    nodes = [node("HardSigmoid", "x", "h", alpha=1 / 6, beta=0.5), node("Mul", "x h", "y")]
    return model_of(nodes, {"x": (TensorProto.DOUBLE, [8])}, ["y"], opset=22).SerializeToString()


def many_skips() -> bytes:
    grams = {"ngram_counts": [0, 2], "ngram_indexes": [0, 1, 2], "pool_int64s": [2, 3, 5, 4]}
    nodes = [node("TfIdfVectorizer", "x", "y", mode="TF", min_gram_length=1, max_gram_length=2,
                  max_skip_count=(1 << 31) - 1, **grams)]  # fmt: skip
    return model_of(nodes, {"x": (TensorProto.INT32, [12])}, ["y"], opset=9).SerializeToString()


def constant_of_two_values() -> bytes:
    nodes = [node("Constant", "", "c", value_ints=[1, -1, 1], value_int=0), node("Reshape", "x c", "y")]
    model = model_of(nodes, {"x": (TensorProto.FLOAT, [4])}, ["y"])
    model.graph.node[0].attribute.reverse()
    return model.SerializeToString()


def nothing_of_usual_frames() -> bytes:
    """An open extent leaves no element at the size that is tuned for."""
    nodes = [node("Conv", "x w", "y", strides=[2, 2], pads=[1, 1, 0, 0])]
    weights = {"w": np.ones((3, 32, 3, 3), np.float32)}
    return model_of(nodes, {"x": (TensorProto.FLOAT, ["n", 32, "n", 8])}, ["y"], constants=weights).SerializeToString()


def hits_among_many() -> bytes:
    shapes = {"data": (1, [65536, 4]), "at": (7, [65536, 4]), "updates": (1, [65536, 4])}
    return model_of([node("ScatterElements", "data at updates", "y")], shapes, ["y"]).SerializeToString()


def index_before_the_start() -> bytes:
    places = {"i": np.array([[0, 0], [-3, 0]])}
    model = model_of([node("GatherElements", "x i", "y", axis=1)], {"x": (1, [2, 2])}, ["y"], constants=places)
    return model.SerializeToString()


def places_of_giant_windows() -> bytes:
    nodes = [node("MaxPool", "x", "y i", kernel_shape=[5, 5], pads=[2, 1 << 31, 2, 2])]
    return model_of(nodes, {"x": (1, [1, 1, 5, 5])}, ["y", "i"]).SerializeToString()


def squares_that_overflow() -> bytes:
    squared = {"a": np.int32([1 << 30, 3])}
    nodes = [node("Add", "x a", "s"), node("ReduceSumSquare", "s", "y", keepdims=0)]
    return model_of(nodes, {"x": (6, [2])}, ["y"], constants=squared, opset=13).SerializeToString()


def high_power_of_a_norm() -> bytes:
    nodes = [node("LpPool", "x", "y", kernel_shape=[2], p=64)]
    return model_of(nodes, {"x": (1, [1, 3, 9])}, ["y"]).SerializeToString()


def many_parts_of_a_sequence() -> bytes:
    nodes = [node("SplitToSequence", "x", "s", axis=1, keepdims=0), node("SequenceAt", "s i", "y")]
    model = model_of(nodes, {"x": (1, [2, 1 << 31])}, ["y"], constants={"i": np.array(0)}, opset=17)
    return model.SerializeToString()


def deconvolution_of_no_rows() -> bytes:
    nodes = [node("ConvTranspose", "x w", "y", output_shape=[10, 8], strides=[3, 2])]
    return model_of(nodes, {"x": (1, [1, 1, 0, 3]), "w": (1, [1, 2, 3, 3])}, ["y"]).SerializeToString()


def input_divided_by_its_root() -> bytes:
    nodes = [node("ReduceMean", "x", "m", axes=[1]), node("Sub", "x m", "s"), node("Add", "e x", "a"),
             node("Sqrt", "a", "r"), node("Div", "s r", "y")]  # fmt: skip
    constants = {"e": np.float32(16)}
    return model_of(nodes, {"x": (1, [1, 8])}, ["y"], constants=constants, opset=13).SerializeToString()


def rows_of_a_long_softmax() -> bytes:
    nodes = [node("Sign", "x", "s"), node("Softmax", "s", "y", axis=0)]
    return model_of(nodes, {"x": (1, [8192, 2])}, ["y"], opset=13).SerializeToString()


def unsorted_ranks() -> bytes:
    nodes = [node("TopK", "x k", "y i", axis=0, sorted=0)]
    return model_of(nodes, {"x": (1, [2, 64])}, ["y"], constants={"k": np.array([2])}).SerializeToString()


def quotient_of_nearly_nothing() -> bytes:
    nodes = [node("Resize", "x _ _ n", "r", mode="linear"), node("Div", "o r", "y")]
    constants = {"n": np.array([1, 1, 64, 64]), "o": np.float32(1)}
    return model_of(nodes, {"x": (1, [1, 1, 7, 7])}, ["y"], constants=constants).SerializeToString()


def least_of_what_is_not_a_number() -> bytes:
    nodes = [node("Sqrt", "x", "r"), node("ArgMin", "r", "y", axis=0), node("ArgMax", "r", "z", select_last_index=1)]
    return model_of(nodes, {"x": (1, [8, 48])}, ["y", "z"]).SerializeToString()


def compared_interpolation() -> bytes:
    nodes = [node("Sqrt", "x", "r"), node("Resize", "r _ _ n", "i", mode="cubic"), node("Less", "i o", "y")]
    constants = {"n": np.array([4, 17]), "o": np.float32(1)}
    return model_of(nodes, {"x": (1, [4, 9])}, ["y"], constants=constants).SerializeToString()


def sums_before_infinity() -> bytes:
    nodes = [node("Div", "o x", "q"), node("CumSum", "q a", "s", exclusive=1), node("Less", "s o", "y")]
    constants = {"o": np.float32(1), "a": np.array(1)}
    model = model_of([node("Floor", "z", "x"), *nodes], {"z": (1, [8, 9])}, ["y"], constants=constants)
    return model.SerializeToString()


def negative_truth_value() -> bytes:
    graph = GraphMaker()
    graph.add("Neg", graph.placeholder((0,), "x0", "bool"), name="y")
    return graph.bytes()


def giant_tensor_of_nothing() -> bytes:
    nodes = [node("DepthToSpace", "x", "y", blocksize=1 << 31)]
    return model_of(nodes, {"x": (1, [1, "c", 0, 3])}, ["y"]).SerializeToString()


def running_sums_of_squares() -> bytes:
    nodes = [node("Mul", "x c", "s"), node("LRN", "s", "y", bias=1e-38, size=3)]
    constants = {"c": np.float32(10.0 ** np.arange(4, -4, -1)).reshape(8, 1, 1)}
    return model_of(nodes, {"x": (1, [5, 8, 5, 5])}, ["y"], constants=constants).SerializeToString()


def largest_of_rounded_numbers() -> bytes:
    nodes = [node("Add", "x c", "s"), node("ArgMax", "s", "y", axis=1)]
    return model_of(nodes, {"x": (1, [4, 4096])}, ["y"], constants={"c": np.float32(1e8)}).SerializeToString()


def quantised_roots() -> bytes:
    nodes = [node("Sqrt", "x", "r"), node("QuantizeLinear", "r s z", "q"), node("DequantizeLinear", "q s z", "y")]
    constants = {"s": np.float32(0.125), "z": np.int8(3)}
    return model_of(nodes, {"x": (1, [8, 32])}, ["y"], constants=constants).SerializeToString()


def squares_of_no_channels() -> bytes:
    nodes = [node("LRN", "x", "n", size=3), node("Concat", "n n", "y", axis=1)]
    return model_of(nodes, {"x": (1, [5, 0, 5, 5])}, ["y"]).SerializeToString()


def wrapped_more_than_once() -> bytes:
    pads = {"p": np.array([2, 1, 64, 5, 1, 8, 0, 0])}
    model = model_of([node("Pad", "x p", "y", mode="wrap")], {"x": (6, [3, 3, 3, 3])}, ["y"], constants=pads)
    return model.SerializeToString()


def signs_of_long_integers() -> bytes:
    return model_of([node("Sign", "c", "y")], {}, ["y"], constants={"c": np.array([3, 1 << 31, 0])}).SerializeToString()


def difference_of_folded_numbers() -> bytes:
    nodes = [node("Softsign", "c", "s"), node("Sigmoid", "s", "p"), node("Sigmoid", "p", "q"), node("Sub", "q p", "y")]
    constants = {"c": np.linspace(1.7, 1.9, 64, dtype=np.float32)}
    return model_of(nodes, {}, ["y"], constants=constants).SerializeToString()


def parts_put_together_again() -> bytes:
    parts = " ".join(f"p{n}" for n in range(3000))
    nodes = [node("Split", "x s", parts), node("Concat", parts, "y", axis=0)]
    return model_of(nodes, {"x": (1, [3000])}, ["y"], constants={"s": np.ones(3000, np.int64)}).SerializeToString()


def constant_in_another_file() -> bytes:
    model = model_of([node("Add", "x w", "y")], {"x": (7, [2])}, ["y"], constants={"w": np.array([1, 2])})
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    return model.SerializeToString()


def functions_of_one_name() -> bytes:
    model = model_of([node("Nothing", "x", "y")], {"x": (1, [2])}, ["y"])
    model.functions.extend([FunctionProto(), FunctionProto()])
    return model.SerializeToString()


def grams_beyond_the_pool() -> bytes:
    counts = {"max_gram_length": 2, "min_gram_length": 1, "max_skip_count": 0, "ngram_counts": [0, 1 << 31]}
    nodes = [node("TfIdfVectorizer", "x", "y", mode="TF", ngram_indexes=[0, 1], pool_int64s=[2, 3], **counts)]
    return model_of(nodes, {"x": (7, [4])}, ["y"]).SerializeToString()


def largest_of_numbers_that_are_alike() -> bytes:
    orders = np.stack([np.random.default_rng(row).permutation(64) for row in range(48)])
    nodes = [node("Gather", "x o", "g"), node("ReduceSum", "g one", "s"), node("ArgMax", "s", "y", axis=0)]
    constants = {"o": orders, "one": np.array([1])}
    return model_of(nodes, {"x": (1, [64, 9])}, ["y"], constants=constants).SerializeToString()


def products_of_bytes() -> bytes:
    constants = {"c": np.full((2, 8), 255, np.uint8), "w": np.full((8, 16), 127, np.int8)}
    return model_of([node("MatMulInteger", "c w", "y")], {}, ["y"], constants=constants).SerializeToString()


FOUND: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a transposition of 2^31 rows listed their pieces": ("TensorFlow", long_pooling),
    "a constant index was taken to be inside of every size of its axis": (
        "ONNX node",
        index_that_small_inputs_do_not_have,
    ),
    "a loop without a body was looked for one": ("ONNX node", loop_without_body),
    "nodes without a version were those of the oldest": ("ONNX node", no_opset),
    "Celu divided by zero": ("ONNX node", celu_of_zero),
    "outputs that an operator does not have were looked for": ("ONNX node", too_many_outputs),
    "strings without data were read for the host": ("ONNX node", strings_without_data),
    "every row of long padding was looked at": ("ONNX node", long_padding),
    "elements were gathered where some sizes have none": ("ONNX node", channels_that_an_update_may_not_have),
    "a mean of bytes was divided by a count that bytes do not hold": ("ONNX node", mean_of_many_bytes),
    "a node without inputs was run on the host for an attribute": ("ONNX node", search_in_nothing),
    "channels that are not there were normalised by": ("ONNX node", far_response),
    "a deconvolution of an empty batch had no reference": ("ONNX node", deconvolution_of_nothing),
    "rows of a whole block of padding were read": ("ONNX node", tiled_channels),
    "a reflection longer than an open axis was read outside of it": ("ONNX node", long_reflection),
    "tensors without elements had the extents to tune for": ("ONNX node", empty_of_open_extents),
    "kernels were looked at where sizes are negative": ("ONNX node", sizes_that_are_negative_for_small_inputs),
    "windows without a place had no reference": ("ONNX node", window_without_a_place),
    "a diagonal was as far as the largest integer": ("ONNX node", far_diagonal),
    "negative powers of integers had no reference": ("ONNX node", negative_powers),
    "weights of a giant image were listed": ("ONNX node", giant_antialias),
    "points of giant cells were listed": ("ONNX node", giant_cells),
    "a constant had negative extents": ("ONNX node", shape_of_negative_extents),
    "the taps of a giant image were listed": ("ONNX node", giant_deformation),
    "a bound's axes became those of what it bounds": ("ONNX node", bound_of_rank_1),
    "a state that is not there was looked for": ("ONNX node", scan_without_a_state),
    "functions that call themselves were opened": ("ONNX node", recursion_behind_an_unknown_operator),
    "the judge did not know extents that have to be multiples": ("ONNX node", quotient_of_an_extent),
    "elements of a tensor without any were read": ("ONNX node", gathered_from_nothing),
    "values without operands were taken for conversions": ("ONNX node", computed_coordinates),
    "truth values were subtracted": ("ONNX node", difference_of_truth_values),
    "states of more units than gates have were made": ("ONNX node", wide_recurrence),
    "an axis was split into other parts than there are outputs": ("ONNX node", more_outputs_said_than_there),
    "more inputs were scanned than there are": ("ONNX node", many_scanned_inputs),
    "channels of a giant concatenation were listed": ("ONNX node", long_concatenation),
    "bytes of a small type were not counted": ("ONNX node", byte_too_many),
    "elements were taken from outside of an open axis": ("ONNX node", rows_that_small_inputs_do_not_have),
    "negative extents were expanded to": ("ONNX node", expansion_to_negative_extents),
    "places of frames that are not there were listed": ("ONNX node", frames_longer_than_the_signal),
    "gates were kept between a larger and a smaller number": ("ONNX node", negative_threshold),
    "steps of 2^(2^40) were counted": ("TensorFlow", many_bits),
    "ONNX Runtime takes no axes for all": ("ONNX node", no_axes),
    "powers of integers that overflow were compared": ("ONNX node", large_power),
    "windows that leave elements out were padded by less than nothing": ("ONNX node", windows_apart),
    "maxima of padding were taken for the least integers": ("ONNX node", windows_of_padding),
    "a sixth in float32 was one in float64": ("ONNX node", nearly_a_sixth),
    "distances beyond the last item were tried": ("ONNX node", many_skips),
    "one of two values of a constant was taken": ("ONNX node", constant_of_two_values),
    "tiles of rows without elements were counted": ("ONNX node", nothing_of_usual_frames),
    "a kernel was looked at that takes minutes": ("ONNX node", hits_among_many),
    "an index before the start was counted from the end twice": ("ONNX node", index_before_the_start),
    "places of giant windows were listed": ("ONNX node", places_of_giant_windows),
    "sums of squares that overflow were compared": ("ONNX node", squares_that_overflow),
    "powers that float32 does not hold were compared": ("ONNX node", high_power_of_a_norm),
    "all elements of a giant axis were listed as parts": ("ONNX node", many_parts_of_a_sequence),
    "elements that are not there were read where a plan has no weights": ("ONNX node", deconvolution_of_no_rows),
    "a root of an input was taken for that of a mean": ("ONNX node", input_divided_by_its_root),
    "long sums were as precise as short ones": ("ONNX node", rows_of_a_long_softmax),
    "unsorted elements were compared in order": ("ONNX node", unsorted_ranks),
    "interpolated elements were taken to be exact": ("ONNX node", quotient_of_nearly_nothing),
    "the least of what is not a number was the last element": ("ONNX node", least_of_what_is_not_a_number),
    "elements that are no taps were interpolated between": ("ONNX node", compared_interpolation),
    "what a sum excludes was subtracted from it": ("ONNX node", sums_before_infinity),
    "truth values were negated": ("TensorFlow", negative_truth_value),
    "a giant tensor without elements was made": ("ONNX node", giant_tensor_of_nothing),
    "squares that were taken away again left nothing behind": ("ONNX node", running_sums_of_squares),
    "rounding did not decide which number is larger": ("ONNX node", largest_of_rounded_numbers),
    "NaN was to become a certain integer": ("ONNX node", quantised_roots),
    "squares of no channels were added up": ("ONNX node", squares_of_no_channels),
    "what ONNX Runtime wraps more than once was compared": ("ONNX node", wrapped_more_than_once),
    "what is larger is less in ONNX Runtime's long integers": ("ONNX node", signs_of_long_integers),
    "ONNX Runtime was to compute constants without rounding": ("ONNX network", difference_of_folded_numbers),
    "neighbours of thousands of parts were joined pair by pair": ("ONNX network", parts_put_together_again),
    "the changer of models read other files": ("ONNX node", constant_in_another_file),
    "two functions had one name": ("ONNX node", functions_of_one_name),
    "grams were counted beyond the pool's items": ("ONNX node", grams_beyond_the_pool),
    "each of many numbers was to be the largest in one of 32 trials": ("ONNX node", largest_of_numbers_that_are_alike),
    "pairs of products of bytes were compared that leave 16 bits": ("ONNX node", products_of_bytes),
    "a segment of a tensor was refused when it was first read": ("ONNX node", segment),
}


@pytest.mark.parametrize("name", FOUND)
def test_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "STAGED", 1.0)
    monkeypatch.delenv("TENSORWRIGHT_CHECK_PLAN", raising=False)  # The checker runs kernels on masks of their memory.
    target, make = FOUND[name]
    verdict = judge(BY_NAME[target], make(), 0)
    assert not verdict.is_bad, verdict.detail


@pytest.mark.parametrize("name", [n for n in BY_NAME if "ONNX" not in n and n != "UFF"])
def test_inputs_are_hostile_and_are_taken(name: str) -> None:
    target = BY_NAME[name]
    outcomes = set()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        verdict = judge(target, target.make(rng), seed)
        assert not verdict.is_bad, f"seed {seed}: {verdict.detail}"
        outcomes.add(verdict.outcome)
    assert "refused" in outcomes


def test_what_is_wrong_is_found() -> None:
    def crash(data: bytes, rng: np.random.Generator) -> int:
        raise ZeroDivisionError(data)

    target = BY_NAME["plan"]
    broken = type(target)("broken", target.make, crash, target.less)
    assert judge(broken, b"", 0).detail.startswith("broken: ZeroDivisionError in test_found.py:crash")
    assert judge(target, seeds.plan(), 0).outcome == "equal"
