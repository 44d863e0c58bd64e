"""Quantised models: integer products where the target has them, the same answers everywhere, ONNX Runtime as judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import tensorwright as tw
from cuda_emulator import emulated
from emulation import pretend
from exact_products import exact_options
from targets import with_one
from tensorwright.devices.cpu.instruction_sets import INSTRUCTION_SETS
from tensorwright.graph.region import Region
from tensorwright.tensor.dtype import FLOAT32
from tensorwright.tune.select import Candidate
from tensorwright.tune.tuner import Tuner

TARGETS = with_one(lambda known: known.has_integer_dot)
WITH_DOTS = tuple(name for name in TARGETS if INSTRUCTION_SETS[name].has_integer_dot)
ROWS, DEPTH, WIDE, COLUMNS = 21, 64, 200, 35


@dataclass
class Model:
    """Nodes and constants of a model with the input x and the output y."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, name: str, array: np.ndarray) -> str:
        self.constants[name] = array
        return name

    def quantised(self, x: str, scale: float, zero: int, dtype: type) -> str:
        """QuantizeLinear and DequantizeLinear of a tensor."""
        by = [self.constant(f"{x}_scale", np.float32(scale)), self.constant(f"{x}_zero", np.asarray(zero, dtype))]
        return self.node("DequantizeLinear", [self.node("QuantizeLinear", [x, *by], f"{x}_q"), *by], f"{x}_d")

    def weights(self, name: str, rng: np.random.Generator, shape: tuple[int, int], per_column: bool) -> str:
        count = shape[1] if per_column else ()
        parts = [
            self.constant(f"{name}_q", rng.integers(-127, 128, shape).astype(np.int8)),
            self.constant(f"{name}_scale", rng.uniform(0.005, 0.02, count).astype(np.float32)),
            self.constant(f"{name}_zero", np.zeros(count, np.int8)),
        ]
        return self.node("DequantizeLinear", parts, f"{name}_d", axis=1)

    def proto(self) -> onnx.ModelProto:
        x = helper.make_tensor_value_info("x", 1, ["batch", DEPTH])
        y = helper.make_tensor_value_info("y", 1, ["batch", COLUMNS])
        constants = [numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        graph = helper.make_graph(self.nodes, "quantised", [x], [y], constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def perceptron(rng: np.random.Generator, dtype: type, zero: int, per_column: bool) -> onnx.ModelProto:
    made, low = Model(), np.iinfo(dtype).min
    product = made.node(
        "MatMul", [made.quantised("x", 0.03, zero, dtype), made.weights("w", rng, (DEPTH, WIDE), per_column)], "p"
    )
    biased = made.node("Add", [product, made.constant("b", rng.standard_normal(WIDE).astype(np.float32))], "s")
    hidden = made.quantised(made.node("Relu", [biased], "h"), 0.02, low, dtype)
    made.node("MatMul", [hidden, made.weights("v", rng, (WIDE, COLUMNS), per_column)], "y")
    return made.proto()


def network(rng: np.random.Generator, dtype: type, zero: int, kernel: int, stride: int) -> onnx.ModelProto:
    """Two convolutions over an image that the rows are reshaped to."""
    made, low, pad = Model(), np.iinfo(dtype).min, kernel // 2
    image = made.node("Reshape", ["x", made.constant("shape", np.int64([0, 16, 2, 2]))], "image")
    shapes = {"w": (32, 16, kernel, kernel), "v": (COLUMNS, 32, 2 // stride, 2 // stride)}
    constants = {}
    for name, shape in shapes.items():
        scale = rng.uniform(0.005, 0.02, shape[0]).astype(np.float32)
        parts = [rng.integers(-127, 128, shape).astype(np.int8), scale, np.zeros(shape[0], np.int8)]
        names = [made.constant(f"{name}_{part}", array) for part, array in zip("qsz", parts, strict=True)]
        constants[name] = made.node("DequantizeLinear", names, f"{name}_d", axis=0)
    factors = [made.quantised(image, 0.03, zero, dtype), constants["w"]]
    made.constant("b", rng.standard_normal(32).astype(np.float32))
    first = made.node("Conv", [*factors, "b"], "c", pads=[pad] * 4, strides=[stride] * 2)
    hidden = made.quantised(made.node("Relu", [first], "h"), 0.02, low, dtype)
    made.node("Flatten", [made.node("Conv", [hidden, constants["v"]], "d")], "y")
    return made.proto()


def dynamic(rng: np.random.Generator) -> onnx.ModelProto:
    """As `onnxruntime.quantization.quantize_dynamic` writes it."""
    made = Model()
    made.nodes.append(helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]))
    made.constant("w", rng.integers(-127, 128, (DEPTH, COLUMNS)).astype(np.int8))
    made.constant("w_zero", np.int8(0))
    made.constant("w_scale", np.float32(0.01))
    whole = made.node("MatMulInteger", ["q", "w", "zero", "w_zero"], "sums")
    both = made.node("Mul", ["scale", "w_scale"], "both")
    made.node("Mul", [made.node("Cast", [whole], "sums_f", to=1), both], "y")
    return made.proto()


def judged(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    options = exact_options()
    if all(node.op_type != "MatMulInteger" for node in model.graph.node):  # What is dequantised stays in floats.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})[0]


def check(model: onnx.ModelProto, step: float, rng: np.random.Generator, **options: object) -> list[str]:
    """What the products of a build multiply; results may lie a step of quantisation apart in a few places."""
    x = rng.standard_normal((ROWS, DEPTH)).astype(np.float32)
    expected = judged(model, x)
    engine = tw.build(model, shapes={"batch": (1, ROWS, 40)}, timing_cache="", **options)
    found = engine({"x": x})["y"]
    off = np.abs(found - expected)
    assert off.max() <= step
    assert np.count_nonzero(off > 1e-4 * np.abs(expected).max()) <= 0.02 * off.size
    return [str(one["precision"]) for one in engine.report["steps"] if {"MatMul", "Convolution"} & {*one["operators"]}]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("dtype", "zero", "per_column"), [(np.uint8, 131, False), (np.int8, 0, True)])
def test_products_are_those_of_integers(target, dtype, zero, per_column, rng, monkeypatch):
    pretend(monkeypatch, target)
    model = perceptron(rng, dtype, zero, per_column)
    found = check(model, 0.1, rng, level=0, threads=2, instruction_set=target)
    assert found == (["uint8", "uint8"] if target in WITH_DOTS else ["float32", "float32"])


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("dtype", "zero", "kernel", "stride"), [(np.uint8, 131, 3, 1), (np.int8, -128, 3, 1), (np.int8, 0, 1, 2)]
)
def test_convolutions_are_those_of_integers(target, dtype, zero, kernel, stride, rng, monkeypatch):
    pretend(monkeypatch, target)
    model = network(rng, dtype, zero, kernel, stride)
    found = check(model, 0.1, rng, level=0, threads=2, instruction_set=target)
    assert found == (["uint8", "uint8"] if target in WITH_DOTS else ["float32", "float32"])


@pytest.mark.parametrize(
    ("make", "dtype", "zero"),
    [(partial(perceptron, per_column=True), np.int8, 0), (partial(network, kernel=3, stride=1), np.uint8, 131)],
)
def test_tensor_cores_multiply_integers(make, dtype, zero, rng, monkeypatch, tmp_path):
    """On an emulated GPU; signed activations stay signed."""
    emulated(monkeypatch, tmp_path, size=16 << 20)
    model = make(rng, dtype, zero)
    found = check(model, 0.1, rng, level=0, device="cuda", exclude_tactics=["one cluster"])
    assert found == [np.dtype(dtype).name] * 2
    assert check(model, 0.1, rng, level=0, device="cuda") == [np.dtype(dtype).name]  # Both in one kernel.


@pytest.mark.parametrize("threads", [1, 3])
def test_tuned_convolutions(threads, rng):
    check(network(rng, np.int8, 4, 3, 1), 0.1, rng, level=3, threads=threads)


@pytest.mark.parametrize("threads", [1, 3])
def test_tuned(threads, rng):
    check(perceptron(rng, np.int8, 4, True), 0.1, rng, level=3, threads=threads)


@pytest.mark.parametrize("target", TARGETS)
def test_quantised_while_it_runs(target, rng, monkeypatch):
    pretend(monkeypatch, target)
    found = check(dynamic(rng), 0.1, rng, level=0, threads=2, instruction_set=target)
    assert found == (["uint8"] if target in WITH_DOTS else found)


@pytest.mark.skipif(not WITH_DOTS, reason="this processor neither has nor emulates dot products of bytes")
@pytest.mark.parametrize(
    ("integers", "floats", "wanted"),
    [(1e-3, 1e-5, ["float32"] * 2), (1e-9, 1e-3, ["uint8"] * 2)],
)
def test_products_are_those_of_floats_where_these_are_faster(integers, floats, wanted, rng, monkeypatch):
    """Where arithmetic is what takes the time, as in one product of the two, hopeless floats are not timed."""
    timed: list[Region] = []

    def measured(self: Tuner, region: Region, candidates: Sequence[Candidate]) -> None:
        for candidate in candidates:
            timed.append(region)
            multiplies_floats = region.anchor is not None and region.anchor.type.dtype.is_float
            self.cache.put(self._key(region, candidate), floats if multiplies_floats else integers)

    monkeypatch.setattr(Tuner, "_measure", measured)
    monkeypatch.setattr(Tuner, "_compile", lambda *arguments: None)
    pretend(monkeypatch, WITH_DOTS[0])
    model, x = perceptron(rng, np.int8, 4, True), rng.standard_normal((ROWS, DEPTH)).astype(np.float32)
    options = {"timing_cache": "", "level": 3, "threads": 1, "instruction_set": WITH_DOTS[0]}
    engine = tw.build(model, shapes={"batch": (1, ROWS, 40)}, **options)
    assert np.abs(engine({"x": x})["y"] - judged(model, x)).max() <= 0.1
    assert [str(one["precision"]) for one in engine.report["steps"] if "MatMul" in one["operators"]] == wanted
    products = {region.signature for region in timed if region.anchor and region.anchor.type.dtype == FLOAT32}
    assert len(products) == (1 if integers == 1e-9 else 2)
