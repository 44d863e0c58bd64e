"""Calls of libraries as plans hold them: written, read again, and read by somebody who trusts nobody."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tensorwright.devices.cuda.libraries.calls import Call, is_call, read_call, written_call
from tensorwright.devices.cuda.libraries.convolution import Convolution
from tensorwright.devices.cuda.libraries.product import Product
from tensorwright.plan.fields import Refusal
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32

CALLS: list[Call] = [
    Product(FLOAT16, 32, 64, 48, 3, 2048, 0, True, 1, 2, 3, 4, "gelu", False, bytes(range(64)), 4096),
    Product(FLOAT32, 1, 8, 8, 1, 0, 0, False, 2, 1, tf32=True, algorithm=bytes(64)),
    Convolution(
        BFLOAT16, 2, 8, 16, (9, 7), (3, 2), (2, 1), (1, 0), (1, 1), (1, 2), 2, 1, 4, 3, "relu", False, 9, ((2, 5),), 64
    ),
    Convolution(FLOAT32, 1, 8, 8, (5,), (1,), (1,), (0,), (0,), (1,), 1, 2),
]
ODD: list[Any] = [
    None, True, 0, -1, 1, 7, 1 << 31, 1 << 70, 1.5, float("nan"), "", "float16", "zz", "00" * 64, [], [1],
    [1, 2], [[1, 2]], [None], [0, 0], [1 << 70] * 2, [[]], [1] * 99, {}, {"a": 1},
]  # fmt: skip


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.library)
def test_calls_are_read_as_they_were_written(call: Call) -> None:
    text = written_call(call)
    assert is_call(text)
    assert read_call(json.loads(text), "a call") == call
    assert written_call(replace(call)) == text
    assert written_call(replace(call, workspace=1)) != text


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.library)
def test_damaged_calls_are_refused_or_mean_something(call: Call, rng: np.random.Generator) -> None:
    refused = 0
    for _ in range(400):
        document = json.loads(written_call(call))
        for _ in range(rng.integers(1, 3)):
            key = rng.choice(sorted(document))
            if rng.random() < 0.1:
                del document[key]
                break
            document[key] = ODD[rng.integers(len(ODD))]
        try:
            found = read_call(document, "a call")
        except Refusal:
            refused += 1
        else:
            assert min(found.extents.values()) > 0
            assert read_call(json.loads(written_call(found)), "a call") == found
    assert 100 < refused < 400


@pytest.mark.parametrize("document", [None, [], "{}", {}, {"library": "cublas"}, {"library": "blas"}, {"library": 1}])
def test_what_is_no_call_is_refused(document: Any) -> None:
    with pytest.raises(Refusal, match=r"^a call"):
        read_call(document, "a call")


def test_extents_are_those_of_the_formula() -> None:
    """Bytes up to the last element that is read, of matrices that lie apart or overlap."""
    product = CALLS[0]
    assert product.extents == {
        0: 2 * 3 * 32 * 48, 1: 2 * (2 * 2048 + 32 * 64), 2: 2 * 64 * 48, 3: 2 * 48, 4: 2 * 3 * 32 * 48,
    }  # fmt: skip
    convolution = CALLS[2]
    assert convolution.outputs == (5, 6)
    assert convolution.extents == {
        0: 2 * 2 * 30 * 16, 2: 2 * 2 * 63 * 8, 1: 2 * 16 * 6 * 8, 4: 2 * 16, 3: 2 * 2 * 30 * 16,
    }  # fmt: skip
