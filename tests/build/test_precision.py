"""Builds with narrower types permitted: right within the types' rounding, and with layers held to what was asked."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper

import tensorwright as tw
from emulation import pretend
from targets import RUNNABLE, with_one
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.graph.graph import Graph, apply, constant_value, input_value
from tensorwright.importers.onnx.translate import import_onnx
from tensorwright.ops.elementwise import Cast, Unary
from tensorwright.ops.matmul import MatMul
from tensorwright.tensor.dtype import FLOAT32
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of

TARGETS = with_one(lambda known: known.has_bfloat16_dot)
ROUNDING = {"float32": 2.0**-23, "bfloat16": 2.0**-8, "float16": 2.0**-11}


def network(rng: np.random.Generator, scale: float = 1.0):
    """A convolution, a product and a softmax, with names."""
    constants = {
        "w": rng.standard_normal((16, 8, 3, 3)) / 8,
        "v": scale * rng.standard_normal((16 * 16, 24)) / 16,
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("Flatten", ["r"], ["f"], name="flat"),
        helper.make_node("MatMul", ["f", "v"], ["m"], name="product"),
        helper.make_node("Softmax", ["m"], ["y"], name="soft"),
    ]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, [4, 8, 8, 8])],
        [helper.make_tensor_value_info("y", 1, [4, 24])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def run(engine: tw.Engine, x: np.ndarray) -> np.ndarray:
    return engine({"x": x})["y"]


def precisions(engine: tw.Engine) -> dict[str, str]:
    return {str(step["name"]).split(" + ")[0]: str(step["precision"]) for step in engine.report["steps"]}


@pytest.mark.parametrize(
    ("precision", "level", "threads"), [("bf16", 0, 2), ("fp16", 1, 1), (("bf16", "fp16"), 3, 2)], ids=str
)
def test_results_differ_by_rounding_alone(precision, level, threads, rng):
    model, x = network(rng), rng.standard_normal((4, 8, 8, 8)).astype(np.float32)
    expected = run(tw.build(model, level=0), x)
    engine = tw.build(model, level=level, threads=threads, precision=precision, timing_cache="")
    assert run(engine, x).dtype == np.float32
    assert np.abs(run(engine, x) - expected).max() < 8 * ROUNDING["bfloat16"] * np.abs(expected).max()


@pytest.mark.parametrize(("target", "level"), [*((target, 0) for target in TARGETS), (RUNNABLE[0], 2)])
@pytest.mark.parametrize("wanted", ["fp32", "bf16", "fp16"])
def test_layers_are_held_to_their_types(target, level, wanted, rng, monkeypatch):
    pretend(monkeypatch, target)
    model, x = network(rng), rng.standard_normal((4, 8, 8, 8)).astype(np.float32)
    others = next(name for name in ("bf16", "fp16") if name != wanted)
    held = {"conv": others, "prod*": wanted, "*": "fp32"}
    engine = tw.build(
        model, level=level, threads=1, layer_precision=held, instruction_set=target, timing_cache=""
    )  # fmt: skip
    found = precisions(engine)
    names = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
    assert (found["conv"], found["product"]) == (names[others], names[wanted])
    expected = run(tw.build(model, level=0), x)
    assert np.abs(run(engine, x) - expected).max() < 8 * ROUNDING["bfloat16"] * np.abs(expected).max()


def test_at_level_0_types_without_fast_arithmetic_are_left_alone(rng):
    plain = precisions(tw.build(network(rng), level=0, precision=("bf16", "fp16"), instruction_set="baseline"))
    assert set(plain.values()) == {"float32"}


def test_a_weight_out_of_range_is_named(rng):
    said: list[str] = []
    graph = import_onnx(network(rng, scale=1e7).SerializeToString())
    plan = build(graph, BuildConfig(level=0, layer_precision={"*": "fp16"}, log=lambda _, text: said.append(text)))
    assert any("layer 'product' stays in float32: its constant 'v' does not fit" in text for text in said)
    assert {str(step["name"]): step["precision"] for step in plan.report["steps"]}["product"] == "float32"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int4"}, "precision is .*'int4'.*; expected one or several of fp32, bf16, fp16"),
        ({"precision": ["bf16", "x"]}, "expected one or several of"),
        ({"precision": 8}, "expected one or several of"),
        ({"layer_precision": {"conv": "int4"}}, "'conv' is held to 'int4'; expected one of fp32, bf16, fp16"),
        ({"layer_precision": {"konv*": "fp32"}}, r"no layer is called 'konv\*'"),
        ({"layer_precision": ["conv"]}, "expected a mapping from names"),
    ],
)
def test_wrong_options_say_what_was_expected(options, message, rng):
    with pytest.raises(tw.BuildError, match=message):
        tw.build(network(rng), level=0, **options)


def test_the_null_device_runs_narrow_networks(rng):
    model, x = network(rng), rng.standard_normal((4, 8, 8, 8)).astype(np.float32)
    engine = tw.build(model, device="null", layer_precision={"*": "bf16"})
    assert (precisions(engine)["conv"], precisions(engine)["product"]) == ("bfloat16", "bfloat16")
    expected = run(tw.build(model, level=0), x)
    assert np.abs(run(engine, x) - expected).max() < 8 * ROUNDING["bfloat16"] * np.abs(expected).max()


def with_stored_halves(rng: np.random.Generator) -> Graph:
    """A product by weights of float16 that the network converts, and one by weights of float32."""
    weights = [rng.standard_normal(shape).astype(np.float32) / 8 for shape in ((64, 96), (96, 80))]
    stored = constant_value(weights_of(weights[0].astype(np.float16)), "a")
    x = input_value("x", TensorType(FLOAT32, (3, 64)))
    first = apply(MatMul(), x, apply(Cast(FLOAT32), stored), name="stored")
    second = apply(
        MatMul(), apply(Unary("tanh"), first, name="tanh"), constant_value(weights_of(weights[1])), name="plain"
    )
    return Graph((("x", x),), (("y", second),))


@pytest.mark.parametrize("level", [0, 1])
def test_weights_that_a_model_has_in_float16_stay_so_where_that_is_permitted(level, rng):
    model, x = with_stored_halves(rng), rng.standard_normal((3, 64)).astype(np.float32)
    options = {"level": level, "threads": 1, "timing_cache": ""}
    exact, half = (tw.build(model, precision=kind, **options) for kind in ((), "fp16"))
    assert precisions(exact)["stored"] == "float32"
    assert precisions(half)["stored"] == "float16"
    assert np.abs(run(half, x) - run(exact, x)).max() < 8 * ROUNDING["float16"] * np.abs(run(exact, x)).max()
    held = tw.build(model, precision="fp16", layer_precision={"stored": "fp32"}, **options)
    assert precisions(held)["stored"] == "float32"


def test_residual_streams_stay_in_float32_unless_they_are_held_to_another_type(rng):
    """Rounded sums stay rounded to the end; factors are rounded for one product alone."""
    depth = 64
    constants = {f"w{n}": rng.standard_normal((depth, depth)) / 100 for n in range(8)} | {"one": np.ones(depth)}
    nodes = []
    for n in range(8):
        nodes += [
            helper.make_node("MatMul", [f"x{n}", f"w{n}"], [f"m{n}"], name=f"product{n}"),
            helper.make_node("Add", [f"x{n}", f"m{n}"], [f"s{n}"], name=f"sum{n}"),
            helper.make_node("LayerNormalization", [f"s{n}", "one"], [f"x{n + 1}"], name=f"norm{n}"),
        ]
    made = helper.make_graph(
        nodes,
        "stream",
        [helper.make_tensor_value_info("x0", 1, [32, depth])],
        [helper.make_tensor_value_info("x8", 1, [32, depth])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    x = rng.standard_normal((32, depth)).astype(np.float32)
    expected = tw.build(model, level=0)({"x0": x})["x8"]

    def error(**options) -> float:
        found = tw.build(model, precision="bf16", level=0, timing_cache="", **options)({"x0": x})["x8"]
        return float(np.abs(found - expected).max())

    if "bfloat16" in precisions(tw.build(model, precision="bf16", level=0, timing_cache="")).values():
        assert error() < 0.5 * error(layer_precision={"*": "bf16"})
