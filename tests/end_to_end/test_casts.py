"""Floats as integers, out of bounds, too: kernels compute what is folded into constants."""

from __future__ import annotations

import numpy as np
import pytest

from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph, Value, apply, input_value
from tensorwright.ops.elementwise import Cast
from tensorwright.runtime.engine import Engine
from tensorwright.tensor.dtype import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    INT8,
    INT16,
    INT32,
    INT64,
    UINT8,
    UINT16,
    UINT32,
    UINT64,
    DType,
)  # fmt: skip
from tensorwright.tensor.type import TensorType

INTEGERS = (INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64)
NUMBERS = (
    np.nan,
    np.inf,
    -np.inf,
    1e30,
    -1e30,
    1e19,
    9.3e18,
    3e9,
    -3e9,
    70000,
    300.5,
    -300.5,
    127.9,
    2.75,
    -0.5,
    5,
    -7,
)


@pytest.mark.parametrize("source", [FLOAT16, BFLOAT16, FLOAT32, FLOAT64], ids=lambda dtype: dtype.name)
def test_kernels_and_folded_constants_agree(source: DType) -> None:
    with np.errstate(over="ignore"):
        x = np.array(NUMBERS).astype(source.numpy)
    given = input_value("x", TensorType(source, x.shape))
    casts: list[tuple[str, Value]] = [(dtype.name, apply(Cast(dtype), given)) for dtype in INTEGERS]
    graph = Graph((("x", given),), tuple(casts), "casts")
    found = Engine(build(graph, BuildConfig(level=0, timing_cache="")))({"x": x})
    for name, expected in evaluate_graph(graph, {"x": x}).items():
        np.testing.assert_array_equal(found[name], expected, name)
