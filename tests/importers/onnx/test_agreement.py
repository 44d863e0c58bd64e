"""Networks whose tensors fit only for some extents of their inputs."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto
from tests.importers.onnx.models import model_of, node

import tensorwright as tw
from tensorwright.base.errors import ExecutionError, ImportFailure
from tensorwright.importers.onnx import import_onnx
from tensorwright.importers.onnx.translate import read_network
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.equations import solution

SCALES = np.float32([1, 1, 2, 2])


def pyramid(levels: int) -> ModelProto:
    """Halves of halves of an image, each doubled again and joined with what it was made of."""
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [node("MaxPool", f"x{n}", f"x{n + 1}", **pool) for n in range(levels)]
    nodes.append(node("Identity", f"x{levels}", f"y{levels}"))
    for n in reversed(range(levels)):
        nodes.append(node("Resize", f"y{n + 1} _ scales", f"u{n}", mode="nearest"))
        nodes.append(node("Concat", f"u{n} x{n}", f"y{n}", axis=1))
    inputs = {"x0": (TensorProto.FLOAT, ["batch", 2, "height", "width"])}
    return model_of(nodes, inputs, ["y0"], constants={"scales": SCALES})


def onnxruntime_output(model: ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: x})
    return np.asarray(output)


def test_images_become_multiples_of_what_is_halved_and_doubled(rng: np.random.Generator) -> None:
    model = pyramid(3)
    with tw.build(model, level=0, threads=2, timing_cache="", shapes={"height": (1, 40, 100)}) as engine:
        for shape in ((1, 2, 16, 24), (3, 2, 40, 128), (2, 2, 96, 8)):
            x = rng.standard_normal(shape, dtype=np.float32)
            np.testing.assert_array_equal(engine({"x0": x})["y0"], onnxruntime_output(model, x))
        with pytest.raises(ExecutionError, match=r"found 20 on axis 2, which 8\*\(height/8\) never is; pad or crop it"):
            engine({"x0": np.zeros((1, 2, 20, 24), np.float32)})
        with pytest.raises(ExecutionError, match=r"dimension '\(height/8\)' is 13, because axis 2 of"):
            engine({"x0": np.zeros((1, 2, 104, 24), np.float32)})


def test_the_user_is_told_what_an_extent_has_to_be() -> None:
    read = read_network(pyramid(1))
    assert [warning.split(": ")[0] for warning in read.warnings] == [
        "dimension 'height' has to be a multiple of 2",
        "dimension 'width' has to be a multiple of 2",
    ]
    assert read.graph.inputs[0][1].type.shape[2] == 2 * symbol("(height/2)", 1, 64, 256)


def test_an_extent_that_is_open_in_name_only_becomes_an_integer() -> None:
    """Exporters write the example's batch into shapes, though the batch is called dynamic."""
    nodes = [node("Reshape", "x shape", "y")]
    shape = {"shape": np.int64([4, 6])}
    read = read_network(model_of(nodes, {"x": (TensorProto.FLOAT, ["batch", 2, 3])}, ["y"], constants=shape))
    assert read.graph.inputs[0][1].type.shape == (4, 2, 3)
    assert read.warnings[0].startswith("dimension 'batch' has to be 4: ")


def test_two_names_of_one_extent_become_one() -> None:
    inputs = {"x": (TensorProto.FLOAT, ["a", 3]), "y": (TensorProto.FLOAT, ["b", 3])}
    read = read_network(model_of([node("Concat", "x y", "z", axis=1)], inputs, ["z"]), shapes={"b": (2, 4, 9)})
    assert [value.type.shape for _, value in read.graph.inputs] == [(symbol("b", 2, 4, 9), 3)] * 2


def test_what_never_fits_is_refused_as_before() -> None:
    nodes = [node("Concat", "x y", "z", axis=1)]
    inputs = {"x": (TensorProto.FLOAT, ["a", 3]), "y": (TensorProto.FLOAT, [20, 3])}
    with pytest.raises(ImportFailure, match=r"Concatenation: input 1: expected \[a, 3\] but for axis 1, found \[20, 3"):
        import_onnx(model_of(nodes, inputs, ["z"]))
    with pytest.raises(ImportFailure, match="expected"):
        import_onnx(model_of(nodes, {**inputs, "x": (TensorProto.FLOAT, ["a", 3])}, ["z"]), shapes={"a": 7})


def test_parsed_networks_take_profiles_of_such_images() -> None:
    builder = tw.Builder(tw.Logger())
    network = builder.create_network(1 << int(tw.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
    assert tw.OnnxParser(network).parse(pyramid(2).SerializeToString())
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    profile.set_shape("x0", (1, 2, 6, 8), (1, 2, 32, 32), (2, 2, 50, 64))
    config.add_optimization_profile(profile)
    config.builder_optimization_level = 0
    engine = builder.build_engine(network, config)
    assert engine is not None
    assert engine({"x0": np.zeros((2, 2, 48, 8), np.float32)})["y0"].shape == (2, 6, 48, 8)
    with pytest.raises(ExecutionError, match=r"expected 2 to 12"):
        engine({"x0": np.zeros((2, 2, 4, 8), np.float32)})


def test_open_dimensions_get_as_much_of_the_default_range_as_the_network_allows() -> None:
    """An image of even height, of which a table of 40 rows is a part."""
    nodes = [
        node("MaxPool", "x", "half", kernel_shape=[2, 2], strides=[2, 2]),
        node("Resize", "half _ scales", "whole", mode="nearest"),
        node("Concat", "whole x", "both", axis=1),
        node("Shape", "x", "height", start=2, end=3),
        node("Slice", "table zero height", "rows"),
        node("Add", "both rows", "y"),
    ]
    constants = {"scales": SCALES, "zero": np.int64([0]), "table": np.zeros((40, 1), np.float32)}
    model = model_of(nodes, {"x": (TensorProto.FLOAT, [1, 2, "height", 8])}, ["y"], constants=constants)
    builder = tw.Builder(tw.Logger())
    network = builder.create_network(1 << int(tw.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
    assert tw.OnnxParser(network).parse(model.SerializeToString())
    (height,) = network.to_graph().symbols()
    assert (height.name, height.min, height.opt, height.max) == ("(height/2)", 1, 20, 20)


def test_a_dimension_may_be_the_sum_of_others():
    """The columns of a mask under a name of their own are those of the past and the new ones."""
    past, new, total = symbol("past", 0, 5, 60), symbol("new", 1, 2, 8), symbol("total", 1, 7, 80)
    assert solution(past + new, total) == {total.terms[0][0][0]: past + new}
    assert solution(total, past + 2 * new) == {total.terms[0][0][0]: past + 2 * new}
    assert solution(past + new + 100, total) is None
