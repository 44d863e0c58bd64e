"""How the project takes an input: one of its own errors, or something that runs, and runs right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from time import process_time

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from google.protobuf.message import DecodeError

import native_plans
import tensorwright as tw
from fuzzing.deviations import differs, further_matters, further_off, judges
from fuzzing.seeds import caffe
from fuzzing.unfolding import Origins, origins, unfolded
from networks.isolation import Companion, Ended
from networks.judge import Expectation, Noise, Rounding, computed, disagreement, expectation
from networks.toolchain import SwitchedBackend, Switches
from tensorwright.base.errors import BuildError, TensorwrightError
from tensorwright.build.build import build
from tensorwright.build.calibrate import read_text
from tensorwright.build.config import BuildConfig
from tensorwright.graph.graph import ConstantTensor, Graph, Value, is_constant
from tensorwright.graph.verify import verify
from tensorwright.importers.caffe import read_network
from tensorwright.importers.failures import UnsupportedModel
from tensorwright.importers.onnx import import_onnx
from tensorwright.importers.tensorflow import import_tensorflow
from tensorwright.importers.uff import RegisteredInput, import_uff
from tensorwright.importers.uff.messages import meta_graph_class
from tensorwright.ops.activation import Clip
from tensorwright.ops.elementwise import Cast
from tensorwright.ops.pooling import Pool
from tensorwright.ops.quantization import Quantize
from tensorwright.plan.file import parse_plan
from tensorwright.plan.plan import Plan
from tensorwright.runtime.engine import Engine
from tensorwright.tensor.dim import evaluate, tuning_value
from tensorwright.tune.cache import parse

Array = npt.NDArray[np.generic]
Arrays = Mapping[str, Array]
USUAL = 3
"""What symbols are, if they may be."""
MOST_ELEMENTS = 1 << 16
"""Of any tensor of a network that is run."""
LARGE = 1 << 28
"""Bytes of a tensor that kernels may not be looked at with, several such at a time."""
MOST_COMPARED = 1e20
"""Where numbers become larger, what is larger still is infinite or not, as the order of additions has it."""
MOST_FACTOR = 1e15
"""A few factors larger than this make numbers that float32 does not hold."""
MOST_POWER = 10
"""Of numbers around 1 higher ones are nothing in float32."""
MOST = {"float16": 6e4, "bfloat16": 3e38, "float32": 3e38}
"""Of what is kept in a type: where it is larger, infinite numbers come into play."""
NEARLY = 1e-3
ROUGHLY = 4.0
"""Units of precision by which results may be off where they decide which number is larger."""
TRIALS = 256
TRYING_SECONDS = 3.0
REFEREE_SECONDS = 20.0
MOST_TRIPS = 10_000
STAGED = 0.5
"""The share of models that cannot be native programs that is run in stages."""


class Difference(Exception):
    """An answer that is wrong."""


class TooLarge(TensorwrightError):
    """A network with a tensor that takes as much memory as an input may cost was refused."""


def onnx_model(data: bytes, rng: np.random.Generator) -> int:
    """The number of outputs that were compared.

    Raises:
        Difference: the engine or ONNX Runtime computes something else than the operators' references.
    """
    try:
        with origins() as found:
            graph = import_onnx(data)
    except UnsupportedModel:
        if rng.random() < STAGED:
            return in_stages(data, rng)
        raise
    return network(graph, rng, (data, found))


def in_stages(data: bytes, rng: np.random.Generator) -> int:
    """Run a model that no single plan expresses, where all its inputs are small tensors; nothing is compared."""
    quiet = tw.Logger(tw.Severity.INTERNAL_ERROR)
    with tw.build(data, level=0, threads=1, timing_cache="", logger=quiet, max_trips=MOST_TRIPS) as engine:
        graph = onnx.ModelProto.FromString(data).graph
        inputs = dict[str, Array]()
        for value in (value for value in graph.input if value.name in engine.input_names):
            dtype = engine.get_binding_dtype(value.name)
            shape = [dim.dim_value or USUAL for dim in value.type.tensor_type.shape.dim]
            if dtype is None or any(extent < 0 for extent in shape) or prod(shape) > MOST_ELEMENTS:
                return 0
            inputs[value.name] = drawn(dtype, shape, rng)
        engine(inputs)
    return 0


def onnx_import(data: bytes, rng: np.random.Generator) -> int:
    import_onnx(data)
    return 0


def frozen_graph(data: bytes, rng: np.random.Generator) -> int:
    return network(import_tensorflow(data), rng)


def uff_model(data: bytes, rng: np.random.Generator) -> int:
    return network(import_uff(data, _registered(data)), rng)


def _registered(data: bytes) -> dict[str, RegisteredInput]:
    """The inputs as a model declares them, channels last, as in the graphs that they were converted from."""
    try:
        graphs = meta_graph_class().FromString(data).graphs
    except DecodeError:
        return {"x": RegisteredInput((2, 6, 6))}
    nodes = [node for graph in graphs for node in graph.nodes if node.operation == "Input"]
    shapes = {node.id: tuple(node.fields["shape"].i_list.val[1:]) for node in nodes}
    return {name: RegisteredInput(shape, "NHWC" if len(shape) == 3 else "NC") for name, shape in shapes.items()}


def definition(data: bytes, rng: np.random.Generator) -> int:
    return network(read_network(data, caffe.MODEL if rng.random() < 0.5 else None).graph, rng)


def caffe_model(data: bytes, rng: np.random.Generator) -> int:
    return network(read_network(caffe.TEXT, data).graph, rng)


def plan(data: bytes, rng: np.random.Generator) -> int:
    x = rng.standard_normal((3, native_plans.WIDTH)).astype(np.float32)
    with tw.load(data, threads=1) as engine:
        found = engine({"x": x})["y"]
    if not np.array_equal(found, native_plans.expected(x)):
        raise Difference("the plan computes something else")
    return 1


def sealed_plan(data: bytes, rng: np.random.Generator) -> int:
    parse_plan(data)
    return 0


def timing_cache(data: bytes, rng: np.random.Generator) -> int:
    try:
        found = parse(data.decode())
    except ValueError as error:  # What the reader of a cache says, and its owner logs.
        raise BuildError(str(error)) from error
    if not np.isfinite(list(found.values())).all():
        raise Difference("a time that is not finite")
    return 0


def calibration_table(data: bytes, rng: np.random.Generator) -> int:
    read_text(data)
    return 0


def network(graph: Graph, rng: np.random.Generator, model: tuple[bytes, Origins] | None = None) -> int:
    """Build and run a network, and compare if it is small; see `onnx_model`.

    model: the ONNX model that it was made of, and the constants that were folded.
    """
    config = BuildConfig(level=0, threads=1 + int(rng.random() < 0.2), timing_cache="")
    with Engine(_built(graph, config)) as engine:
        verify(graph)
        environment = {s.name: min(max(USUAL, s.min), s.max) for s in graph.symbols()}
        shapes = [[evaluate(dim, environment) for dim in value.type.shape] for value in graph.order()]
        if max(prod(extent or 1 for extent in shape) for shape in shapes) > MOST_ELEMENTS:
            return 0
        inputs = {n: drawn(v.type.dtype, [evaluate(d, environment) for d in v.type.shape], rng)
                  for n, v in graph.inputs}  # fmt: skip
        found = dict(zip(dict(graph.outputs), engine(inputs).values(), strict=True))
    if overflows(graph, inputs):
        return 0
    try:
        expected = expectation(graph, inputs, rng, trials=6)
    except IndexError:  # Of indices outside of their axis: no answer is the right one.
        return 0
    if is_open(graph, inputs):
        return 0
    compare("engine", found, expected, Roundings(graph, inputs, rng))
    if model is not None and judges(model[0], inputs) and (others := refereed(model[0], inputs, list(found))):
        _compare_others(others, expected, graph, unfolded(graph, model[1]), inputs, rng)
    return len(found)


def _compare_others(
    arrays: Arrays, expected: Expectation, graph: Graph, whole: Graph, inputs: Arrays, rng: np.random.Generator
) -> None:
    """Compare what ONNX Runtime computes. whole: the graph with what was folded."""
    if overflows(whole, inputs) or is_open(whole, inputs) or differs(whole, inputs):
        return
    if len(whole.order()) > len(graph.order()) or any(map(further_matters, whole.order())):
        expected = _less_precise(expected, whole, inputs, rng)
    compare("ONNX Runtime", arrays, expected, Roundings(whole, inputs, rng))


def _less_precise(expected: Expectation, whole: Graph, inputs: Arrays, rng: np.random.Generator) -> Expectation:
    """The same with the errors that ONNX Runtime makes, also where it computes what was folded here.

    What is kept in float16 it computes in float32, and rounds now and then.
    """
    own = expectation(whole, inputs, rng, trials=6, further=further_off, rounds_anywhere=True).errors
    return Expectation(expected.outputs, {name: max(error, own[name]) for name, error in expected.errors.items()})


def is_open(graph: Graph, inputs: Arrays) -> bool:
    """Whether float32 does not decide what a network computes."""
    return any(map(has_giants, graph.order())) or converts_openly(graph, inputs)


def _built(graph: Graph, config: BuildConfig) -> Plan:
    try:
        return build(graph, config, SwitchedBackend(Switches(optimised=False)))
    except BuildError as error:
        if any(tuning_value(v.type.elements) * v.type.dtype.size > LARGE for v in graph.order()):
            raise TooLarge(str(error)) from error
        raise


@dataclass(frozen=True)
class Roundings:
    """What a network gives where its operators round in other ways."""

    graph: Graph
    inputs: Arrays
    rng: np.random.Generator

    def permit(self, name: str, array: Array, right: Array) -> Array:
        """What is right of an output, with the elements of an array where some rounding gives them.

        Where numbers are nearly alike, it decides which one is larger: of many, each one in few ways of rounding.
        """
        noise = Noise(self.rng, further_off, rounds_anywhere=True, units=ROUGHLY)
        ways = (noise, replace(noise, units=1.0, whole=True))
        end = process_time() + TRYING_SECONDS
        for way in (Rounding(), *ways * TRIALS):
            right = np.where(computed(self.graph, self.inputs, way)[name] == array, array, right)
            if (right == array).all() or process_time() > end:
                break
        return right


def compare(who: str, arrays: Arrays, expected: Expectation, roundings: Roundings) -> None:
    """Compare outputs with what they have to be.

    Raises:
        Difference: one is something else.
    """
    for name, array in arrays.items():
        right, error = expected.outputs[name], expected.errors[name]
        wrong = disagreement(array, right, error) if is_comparable(right, error) else ""
        if wrong and array.shape == right.shape and right.dtype.kind in "iub":
            wrong = disagreement(array, roundings.permit(name, array, right), error)
        if wrong:
            raise Difference(f"{who}, output {name}: {wrong}")


def is_comparable(right: Array, error: float) -> bool:
    """Whether an output is known well enough for another one to be wrong."""
    largest = float(np.abs(right).max(initial=0.0))
    return right.dtype.kind in "iub" or (largest < MOST_COMPARED and error <= max(largest, 1e-3))


def converts_openly(graph: Graph, inputs: Arrays) -> bool:
    """Whether numbers become integers that do not hold them, or that the last bit of a number decides."""
    casts = {f"{number}": value for number, value in enumerate(graph.order())
             if isinstance(value.op, Cast | Quantize) and value.type.dtype.is_integer
             and value.inputs[0].type.dtype.is_float}  # fmt: skip
    found = computed(Graph(graph.inputs, tuple((name, value.inputs[0]) for name, value in casts.items())), inputs)
    return any(
        np.isnan(array).any() if isinstance(op, Quantize) else not becomes_integers(array, dtype)
        for array, op, dtype in ((array, casts[name].op, casts[name].type.dtype) for name, array in found.items())
    )


def becomes_integers(array: Array, dtype: tw.DType) -> bool:
    """Whether a type holds all numbers of an array, none of which is nearly an integer."""
    wide, limits = np.asarray(array, np.float64), np.iinfo(dtype.numpy)
    with np.errstate(invalid="ignore"):
        apart = np.abs(wide - np.round(wide)) > NEARLY * np.maximum(1, np.abs(wide))
        return bool((apart & (wide > limits.min) & (wide < limits.max)).all())


def overflows(graph: Graph, inputs: Arrays) -> bool:
    """Whether something is larger than the numbers of the type that it is kept in."""
    kept = {f"{n}": v for n, v in enumerate(graph.order()) if v.type.dtype.name in MOST and not is_constant(v)}
    try:
        found = computed(Graph(graph.inputs, tuple(kept.items())), inputs)
    except IndexError:
        return False
    with np.errstate(invalid="ignore"):
        return any(
            np.where(np.isfinite(array), np.abs(array), 0.0).max(initial=0.0) > MOST[kept[name].type.dtype.name]
            for name, array in found.items()
        )


def has_giants(value: Value) -> bool:
    """Whether an operator computes with numbers whose products and powers float32 does not hold."""
    if isinstance(value.op, ConstantTensor):
        array = value.op.weights.array if value.type.dtype.is_float else np.zeros(())
        return bool((np.isfinite(array) & (np.abs(array) > MOST_FACTOR)).any())
    if isinstance(value.op, Pool) and value.op.mode == "lp" and value.op.p > MOST_POWER:
        return True
    numbers = [] if isinstance(value.op, Clip) else [n for n in vars(value.op).values() if isinstance(n, float)]
    return any(abs(number) > MOST_FACTOR for number in numbers)


def drawn(dtype: tw.DType, shape: list[int], rng: np.random.Generator) -> Array:
    if dtype.is_float:
        return rng.standard_normal(shape).astype(dtype.numpy)
    return rng.integers(0, 2, shape).astype(dtype.numpy)


def refereed(model: bytes, inputs: Arrays, outputs: list[str]) -> Arrays:
    """What ONNX Runtime computes, in a process of its own; nothing if it refuses the model or ends."""
    try:
        return REFEREE.ask((model, inputs, outputs))
    except Ended:
        return {}


def _by_onnx_runtime(question: tuple[bytes, Arrays, list[str]]) -> Arrays:
    model, inputs, outputs = question
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        given = {item.name: inputs[item.name] for item in session.get_inputs()}
        return dict(zip(outputs, map(with_infinities, session.run(outputs, given)), strict=True))
    except Exception:  # noqa: BLE001  # Its errors have no common class.
        return {}


def with_infinities(array: Array) -> Array:
    """Where Attention masks scores, ONNX Runtime writes the least number; ONNX's evaluator, and we, write -inf."""
    least = np.finfo(np.float32).min
    return np.where(array == least, -np.inf, array) if array.dtype == np.float32 else array


REFEREE = Companion(_by_onnx_runtime, REFEREE_SECONDS)
