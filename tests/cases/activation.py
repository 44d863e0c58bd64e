"""Every activation, on values of both signs, small and large."""

from __future__ import annotations

import numpy as np

from cases.case import Case, Fixed, Operand, f32
from tensorwright.ops import activation
from tensorwright.ops.elementwise import ReplaceNan
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT64, INT32

BATCH = symbol("batch", 1, 2, 4)

FUNCTIONS = (
    activation.Relu(),
    activation.LeakyRelu(0.1),
    activation.Elu(0.7),
    activation.Selu(),
    activation.Celu(1.5),
    activation.Sigmoid(),
    activation.HardSigmoid(0.25, 0.4),
    activation.HardSwish(),
    activation.Silu(),
    activation.Mish(),
    activation.Softplus(),
    activation.Softsign(),
    activation.Gelu(),
    activation.Gelu(approximate=True),
    activation.Clip(-1.0, 6.0),
    activation.Clip(None, 0.5),
    activation.Clip(0.25, None),
    activation.ThresholdedRelu(0.6),
    activation.ScaledTanh(1.7, 0.6),
    activation.Shrink(0.3, 0.7),
)

CASES = (
    *(Case(f"{number}", op, (f32(3, 17, 5, low=-5, high=5),)) for number, op in enumerate(FUNCTIONS)),
    *(Case(f"{number}-far", op, (f32(37, low=-90, high=90),)) for number, op in enumerate(FUNCTIONS)),
    Case("relu-int", activation.Relu(), (Operand(INT32, (5, 7), -9, 9),)),
    Case("clip-int", activation.Clip(-3, 1e30), (Operand(INT32, (5, 7), -9, 9),)),
    Case("relu-symbolic", activation.Relu(), (f32(BATCH, 3, 5),), symbols={"batch": 3}),
    Case("float64", activation.Gelu(), (Operand(FLOAT64, (33,)),), tolerance=1e-12),
    Case("float16", activation.Gelu(), (Operand(FLOAT16, (33,)),)),
    Case("bfloat16", activation.Silu(), (Operand(BFLOAT16, (33,)),)),
    Case("replace-nan", ReplaceNan(0.5), (Fixed(np.float32([1, np.nan, np.inf, -2, np.nan] * 7)),)),
    Case("prelu", activation.PRelu(), (f32(2, 17, 3, 3), f32(17, 1, 1))),
    Case("prelu-scalar", activation.PRelu(), (f32(2, 3, 5), f32(1))),
    Case("prelu-same", activation.PRelu(), (f32(3, 5), f32(3, 5))),
)
