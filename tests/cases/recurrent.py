"""Steps of recurrent layers as operators of their own; the layers are in `tests/kernels/test_recurrent.py`."""

from __future__ import annotations

from cases.case import Case, f32
from tensorwright.ops.activation import HardSigmoid, Relu, Sigmoid
from tensorwright.ops.elementwise import Unary
from tensorwright.ops.recurrent import GRU, LSTM, RNN, RecurrentStep

TANH = Unary("tanh")

LAYERS = {
    "plain": LSTM((Sigmoid(), TANH, TANH)),
    "peepholes": LSTM((Sigmoid(), TANH, Relu()), clip=1.5, extras=("peepholes",)),
    "input-forget": LSTM((HardSigmoid(), TANH, TANH), input_forget=True),
}

CASES = [
    Case("tanh", RecurrentStep(RNN((TANH,)), "hidden"), (f32(3, 5), f32(3, 5), f32(3, 5))),
    *(
        Case(f"{name} {result}", RecurrentStep(op, result), (*[f32(2, 7)] * 10, *[f32(7)] * (3 * len(op.extras))))
        for name, op in LAYERS.items()
        for result in ("hidden", "cell")
    ),
    *(Case(result, RecurrentStep(GRU((Sigmoid(), TANH)), result), (f32(2, 7),) * 7) for result in ("hidden", "gated")),
    Case(
        "linear before reset",
        RecurrentStep(GRU((Sigmoid(), TANH), extras=("bias",), linear_before_reset=True), "hidden"),
        (*[f32(2, 7)] * 7, f32(7)),
    ),
]
