"""A step of a decoder with a key-value cache of any length, as exporters write it, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import tensorwright as tw

VOCABULARY, HEADS, GROUPS, DEPTH = 1500, 4, 2, 16
WIDTH = HEADS * DEPTH
SHAPES = {"batch": (1, 1, 3), "seq": (1, 1, 24), "past": (0, 20, 300)}
STEPS = ((1, 0, 7), (1, 20, 1), (3, 129, 1), (2, 300, 24), (1, 21, 1))
"""Batch, past and length of some calls."""
OUTPUTS = "logits", "present_key", "present_value"


def decoder(rng: np.random.Generator) -> bytes:
    """One layer with grouped queries, a causal mask with a guard against NaN, and logits from the embeddings."""
    nodes = []

    def node(operator: str, *inputs: str, **attributes: object) -> str:
        name = f"{operator}_{len(nodes)}"
        nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def weights(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, np.float32) / np.float32(shape[0] ** 0.5)

    constants = {
        "wte": rng.standard_normal((VOCABULARY, WIDTH), np.float32),
        "wq": weights(WIDTH, WIDTH), "wk": weights(WIDTH, GROUPS * DEPTH), "wv": weights(WIDTH, GROUPS * DEPTH),
        "wo": weights(WIDTH, WIDTH), "scale": np.float32(DEPTH**-0.25), "zero": np.float32(0),
        "never": np.float32(-np.inf), "none": np.int64(0), "one": np.int64(1), "two": np.int64([2]),
        "repeats": np.int64([1, 1, HEADS // GROUPS, 1, 1]), "all_heads": np.int64([0, HEADS, -1, DEPTH]),
        "query_heads": np.int64([0, 0, HEADS, DEPTH]), "key_heads": np.int64([0, 0, GROUPS, DEPTH]),
        "rows": np.int64([0, 0, WIDTH]),
    }  # fmt: skip

    def heads(weight: str, shape: str) -> str:
        return node("Transpose", node("Reshape", node("MatMul", x, weight), shape), perm=[0, 2, 1, 3])

    def repeated(cache: str) -> str:
        return node("Reshape", node("Tile", node("Unsqueeze", cache, "two"), "repeats"), "all_heads")

    x = node("Gather", "wte", "tokens")
    query = node("Mul", heads("wq", "query_heads"), "scale")
    keys = node("Concat", "past_key", heads("wk", "key_heads"), axis=2)
    values = node("Concat", "past_value", heads("wv", "key_heads"), axis=2)
    total = node("Squeeze", node("Shape", keys, start=2, end=3))
    length = node("Squeeze", node("Shape", "tokens", start=1, end=2))
    places = node("Unsqueeze", node("Range", node("Sub", total, length), total, "one"), "two_axis")
    allowed = node("LessOrEqual", node("Range", "none", total, "one"), places)
    mask = node("Where", node("And", allowed, "visible"), "zero", "never")
    turned = node("Mul", node("Transpose", repeated(keys), perm=[0, 1, 3, 2]), "scale")
    powers = node("Softmax", node("Add", node("MatMul", query, turned), mask), axis=-1)
    guarded = node("Where", node("IsNaN", powers), "zero", powers)
    mixed = node("Transpose", node("MatMul", guarded, repeated(values)), perm=[0, 2, 1, 3])
    y = node("Add", x, node("MatMul", node("Reshape", mixed, "rows"), "wo"))
    logits = node("MatMul", y, node("Transpose", "wte", perm=[1, 0]))
    for source, name in zip((logits, keys, values), OUTPUTS, strict=True):
        nodes.append(helper.make_node("Identity", [source], [name]))
    constants["two_axis"] = np.int64([1])

    def of(name: str, shape: list[str | int], dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, dtype, shape)

    past: list[str | int] = ["batch", GROUPS, "past", DEPTH]
    inputs = [
        of("tokens", ["batch", "seq"], TensorProto.INT64),
        of("visible", ["batch", 1, 1, 1], TensorProto.BOOL),
        of("past_key", past),
        of("past_value", past),
    ]
    present: list[str | int] = ["batch", GROUPS, "total", DEPTH]
    outputs = [
        of("logits", ["batch", "seq", VOCABULARY]), of("present_key", present), of("present_value", present)
    ]  # fmt: skip
    initializers = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "decoder", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


@pytest.mark.parametrize("level", [0, 1])
def test_matches_onnxruntime(level: int, rng: np.random.Generator) -> None:
    model = decoder(rng)
    plan = tw.build(model, level=level, threads=3, shapes=SHAPES, check_plan=True, timing_cache="").serialize()
    assert len(plan) < 1.8 * VOCABULARY * WIDTH * 4
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    for threads in (1, 3):
        with tw.load(plan, threads=threads) as engine:
            for batch, past, length in STEPS:
                feeds = {
                    "tokens": rng.integers(0, VOCABULARY, (batch, length)),
                    "visible": np.arange(batch).reshape(batch, 1, 1, 1) != 1,
                    "past_key": rng.standard_normal((batch, GROUPS, past, DEPTH), np.float32),
                    "past_value": rng.standard_normal((batch, GROUPS, past, DEPTH), np.float32),
                }
                found = engine(feeds)
                for name, expected in zip(
                    ("logits", "present_key", "present_value"), session.run(None, feeds), strict=True
                ):
                    np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_outputs_of_a_step_are_inputs_of_the_next(rng: np.random.Generator) -> None:
    """As many tokens one by one as at once."""
    tokens = rng.integers(0, VOCABULARY, (1, 24))
    visible, empty = np.ones((1, 1, 1, 1), bool), np.zeros((1, GROUPS, 0, DEPTH), np.float32)
    with tw.build(decoder(rng), level=0, threads=2, shapes=SHAPES) as engine:
        whole = engine({"tokens": tokens, "visible": visible, "past_key": empty, "past_value": empty})
        key, value = empty, empty
        for place in range(tokens.shape[1]):
            token = tokens[:, place : place + 1]
            found = engine({"tokens": token, "visible": visible, "past_key": key, "past_value": value})
            key, value = found["present_key"], found["present_value"]
            np.testing.assert_allclose(found["logits"][:, 0], whole["logits"][:, place], rtol=0, atol=1e-3)
    np.testing.assert_allclose(key, whole["present_key"], rtol=0, atol=1e-5)
