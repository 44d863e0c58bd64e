"""Recurrent layers of Caffe against loops in float64."""

from __future__ import annotations

import re

import numpy as np
import pytest

from caffe_models import computed, definition, layer
from tensorwright.base.errors import ImportFailure
from tensorwright.importers.caffe import read_network

STEPS, BATCH, INPUTS, FURTHER, HIDDEN = 5, 3, (2, 2), 3, 4


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def drawn(rng, *shapes):
    return [rng.uniform(-1, 1, shape).astype(np.float32) for shape in shapes]


def goes_on(rng):
    """Where sequences go on; some start in the middle."""
    found = (rng.random((STEPS, BATCH)) > 0.3).astype(np.float32)
    found[2] = 1, 0, 1
    return found


def names(further, exposed, states):
    count = 2 + further + (states if exposed else 0)
    return f"recurrent_param {{ num_output: {HIDDEN} {'expose_hidden: true' if exposed else ''} }}", count


@pytest.mark.parametrize("further", [False, True])
@pytest.mark.parametrize("exposed", [False, True])
def test_lstm(rng, further, exposed):
    x, static, h, c = drawn(rng, (STEPS, BATCH, *INPUTS), (BATCH, FURTHER), *[(1, BATCH, HIDDEN)] * 2)
    w, b, s, r = drawn(rng, (4 * HIDDEN, 4), (4 * HIDDEN,), (4 * HIDDEN, FURTHER), (4 * HIDDEN, HIDDEN))
    marker = goes_on(rng)
    parameters, _ = names(further, exposed, 2)
    bottoms = [x, marker, *([static] if further else []), *([h, c] if exposed else [])]
    blobs = [w, b, *([s] if further else []), r]
    tops = "out hidden cell" if exposed else "out"
    found = computed("LSTM", parameters, *bottoms, blobs=blobs, tops=tops)

    state, cell = (one[0].astype(np.float64) * exposed for one in (h, c))
    for step in range(STEPS):
        m = marker[step][:, None]
        total = x[step].reshape(BATCH, -1) @ w.T.astype(np.float64) + b + (m * state) @ r.T
        total = total + static @ s.T if further else total
        i, f, o, g = np.split(total, 4, axis=1)
        cell = m * sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        state = sigmoid(o) * np.tanh(cell)
        np.testing.assert_allclose(found["out"][step], state, rtol=1e-5, atol=1e-6)
    if exposed:
        np.testing.assert_allclose(found["hidden"][0], state, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found["cell"][0], cell, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("further", [False, True])
@pytest.mark.parametrize("exposed", [False, True])
def test_rnn(rng, further, exposed):
    x, static, h = drawn(rng, (STEPS, BATCH, 4), (BATCH, FURTHER), (1, BATCH, HIDDEN))
    w, b, s, r, v, d = drawn(
        rng, (HIDDEN, 4), (HIDDEN,), (HIDDEN, FURTHER), (HIDDEN, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN,)
    )
    marker = goes_on(rng)
    parameters, _ = names(further, exposed, 1)
    bottoms = [x, marker, *([static] if further else []), *([h] if exposed else [])]
    blobs = [w, b, *([s] if further else []), r, v, d]
    found = computed("RNN", parameters, *bottoms, blobs=blobs, tops="out hidden" if exposed else "out")

    state = h[0].astype(np.float64) * exposed
    for step in range(STEPS):
        total = x[step] @ w.T.astype(np.float64) + b + (marker[step][:, None] * state) @ r.T
        state = np.tanh(total + static @ s.T if further else total)
        np.testing.assert_allclose(found["out"][step], np.tanh(state @ v.T + d), rtol=1e-5, atol=1e-6)
    if exposed:
        np.testing.assert_allclose(found["hidden"][0], state, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((5, 3, 2), (5, 3, 1)), "second bottom, where sequences go on, to have 2 axes"),
        (((5, 3, 2), (5, 3), (3, 4), (3, 4)), "expected 2 or 3 bottoms, found 4"),
        (((5,), (5, 3)), "at least 2 axes, steps and batch"),
    ],
)
def test_what_does_not_fit(shapes, message):
    given = {f"in{number}": shape for number, shape in enumerate(shapes)}
    text = definition(layer("LSTM", "recurrent_param { num_output: 4 }", bottoms=" ".join(given)), **given)
    with pytest.raises(ImportFailure) as caught:
        read_network(text)
    assert re.search(message, str(caught.value))
