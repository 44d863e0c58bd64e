"""Recurrent operators against ONNX Runtime: the mathematics, and engines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto

import tensorwright as tw
from graphs import operators
from importers.onnx.models import model_of, node, run
from tensorwright.base.errors import ImportFailure
from tensorwright.importers.onnx import import_onnx
from tensorwright.passes.pipeline import optimise

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
STEPS, BATCH, INPUTS, HIDDEN = 6, 3, 4, 5


def model(
    operator: str,
    rng: np.random.Generator,
    *,
    direction: str = "forward",
    steps: int | str = STEPS,
    batch: int | str = BATCH,
    optional: Sequence[str] = ("b", "h", "c"),
    **attributes: object,
) -> ModelProto:
    """A layer with the optional inputs that are named: b, lengths, h, c, p."""
    both, gates = 2 if direction == "bidirectional" else 1, GATES[operator]
    shapes = {
        "w": (both, gates * HIDDEN, INPUTS),
        "r": (both, gates * HIDDEN, HIDDEN),
        "b": (both, 2 * gates * HIDDEN),
        "h": (both, BATCH, HIDDEN),
        "c": (both, BATCH, HIDDEN),
        "p": (both, 3 * HIDDEN),
    }
    if attributes.get("layout"):
        shapes |= dict.fromkeys("hc", (BATCH, both, HIDDEN))
    named = ["w", "r", "b", "lengths", "h", *(["c", "p"] if operator == "LSTM" else [])]
    given = [name if name in ("w", "r", *optional) else "_" for name in named]
    constants = {n: rng.uniform(-0.8, 0.8, shapes[n]).astype(np.float32) for n in given if n in shapes}
    if "lengths" in given:
        constants["lengths"] = np.array([4, STEPS, 2], np.int32)
    outputs = ["y", "last", *(["cells"] if operator == "LSTM" else [])]
    call = node(
        operator, " ".join(["x", *given]), " ".join(outputs), hidden_size=HIDDEN, direction=direction, **attributes
    )
    shape = [batch, steps, INPUTS] if attributes.get("layout") else [steps, batch, INPUTS]
    return model_of([call], {"x": (TensorProto.FLOAT, shape)}, outputs, constants=constants)


def judged(model: ModelProto, x: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})


def drawn(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


CASES = [
    ("RNN", {"activations": ["Relu"], "clip": 0.5}),
    ("RNN", {"activations": ["Affine"], "activation_alpha": [0.4], "activation_beta": [0.1]}),
    ("RNN", {"direction": "bidirectional", "activations": ["Tanh", "ScaledTanh"], "activation_alpha": [0.7],
             "activation_beta": [0.6]}),
    ("GRU", {"direction": "bidirectional", "optional": ("b", "lengths", "h")}),
    ("GRU", {"direction": "reverse", "optional": ("lengths",), "linear_before_reset": 1}),
    ("GRU", {"activations": ["HardSigmoid", "LeakyRelu"], "activation_alpha": [0.3, 0.1], "activation_beta": [0.4]}),
    ("GRU", {"direction": "bidirectional", "linear_before_reset": 1,
             "activations": ["Sigmoid", "Tanh", "Sigmoid", "Relu"]}),
    ("LSTM", {"direction": "bidirectional", "optional": ("b", "lengths", "h", "c", "p")}),
    ("LSTM", {"optional": ("b", "c", "p"), "clip": 0.6}),
    ("LSTM", {"optional": (), "direction": "reverse"}),
    ("LSTM", {"activations": ["Sigmoid", "Softsign", "Elu"], "activation_alpha": [0.5]}),
    ("LSTM", {"optional": ("b", "lengths"), "activations": ["Sigmoid", "Tanh", "Softplus"]}),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "options"), CASES, ids=str)
def test_attributes_and_inputs(operator: str, options: dict[str, object], rng: np.random.Generator) -> None:
    layer, x = model(operator, rng, **options), drawn(rng, STEPS, BATCH, INPUTS)
    for found, wanted in zip(run(layer, {"x": x}), judged(layer, x), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("operator", GATES)
def test_with_the_batch_in_front(operator: str, rng: np.random.Generator) -> None:
    """ONNX Runtime does not know this layout: its result of the other one is transposed."""
    seed = int(rng.integers(1 << 30))
    front, usual = (
        model(operator, np.random.default_rng(seed), direction="bidirectional", optional=("b",), **layout)
        for layout in ({"layout": 1}, {})
    )
    x = drawn(rng, STEPS, BATCH, INPUTS)
    y, *last = judged(usual, x)
    found = run(front, {"x": x.transpose(1, 0, 2)})
    for one, wanted in zip(found, [y.transpose(2, 0, 1, 3), *(s.transpose(1, 0, 2) for s in last)], strict=True):
        np.testing.assert_allclose(one, wanted, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("operator", GATES)
def test_engines_for_any_number_of_steps_and_sequences(operator: str, rng: np.random.Generator) -> None:
    layer = model(operator, rng, direction="bidirectional", steps="t", batch="n", optional=("b",))
    with tw.build(layer, shapes={"t": (1, 20, 700), "n": (1, 2, 5)}, level=0, threads=2, timing_cache="") as engine:
        for steps, batch in ((20, 2), (1, 1), (700, 1), (33, 5)):
            x = drawn(rng, steps, batch, INPUTS)
            for found, wanted in zip(engine(x).values(), judged(layer, x), strict=True):
                np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_one_operator_for_states_and_cells(rng: np.random.Generator) -> None:
    found = operators(optimise(import_onnx(model("LSTM", rng, direction="bidirectional"))))
    assert found["LSTM"] == found["MatMul"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"direction": "sideways"}, "direction must be forward, reverse or bidirectional, found sideways"),
        ({"activations": ["Tanh"]}, "activations: expected 3, found Tanh"),
        ({"activations": ["Sigmoid", "Tanh", "Sine"]}, "activation Sine is not supported"),
    ],
)
def test_what_is_refused(options: dict[str, object], message: str, rng: np.random.Generator) -> None:
    with pytest.raises(ImportFailure, match=message):
        import_onnx(model("LSTM", rng, **options))
