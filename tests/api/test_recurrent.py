"""Recurrent layers and ragged softmax against loops in float64."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import tensorwright as tw
from tensorwright.graph.evaluate import evaluate_graph

Gate, Op = tw.RNNGateType, tw.RNNOperation
EXPLICIT = 1 << int(tw.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
BATCH, STEPS, INPUTS, HIDDEN = 3, 4, 5, 6
GATES = {
    Op.RELU: [Gate.INPUT],
    Op.TANH: [Gate.INPUT],
    Op.LSTM: [Gate.FORGET, Gate.INPUT, Gate.CELL, Gate.OUTPUT],
    Op.GRU: [Gate.UPDATE, Gate.RESET, Gate.HIDDEN],
}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def cell(op, given, x, h, c):
    """One step. `given` has weights and biases by (gate, whether it is about the input)."""

    def sides(gate):
        (w, wb), (r, rb) = (given[gate, side] for side in (True, False))
        return (x if w is None else x @ w.T) + wb, h @ r.T + rb

    if op in (Op.RELU, Op.TANH):
        total = sum(sides(Gate.INPUT))
        return (np.maximum(total, 0) if op is Op.RELU else np.tanh(total)), c
    if op is Op.LSTM:
        i, f, o = (sigmoid(sum(sides(gate))) for gate in (Gate.INPUT, Gate.FORGET, Gate.OUTPUT))
        c = f * c + i * np.tanh(sum(sides(Gate.CELL)))
        return o * np.tanh(c), c
    z, r = (sigmoid(sum(sides(gate))) for gate in (Gate.UPDATE, Gate.RESET))
    seen, kept = sides(Gate.HIDDEN)
    return (1 - z) * np.tanh(seen + r * kept) + z * h, c


def expected(op, parameters, x, directions, h, c, lengths):
    """States [N, S, D·H], last states and last cells [N, L·D, H], all by loops."""
    x, last_h, last_c = x.astype(np.float64), h.astype(np.float64), c.astype(np.float64)
    for layer in range(len(parameters) // directions):
        outputs = np.zeros((*x.shape[:2], directions * HIDDEN))
        for direction in range(directions):
            number = layer * directions + direction
            for n, length in enumerate(lengths):
                state, memory = last_h[n, number], last_c[n, number]
                for step in range(length)[::-1] if direction else range(length):
                    state, memory = cell(op, parameters[number], x[n, step], state, memory)
                    outputs[n, step, direction * HIDDEN : (direction + 1) * HIDDEN] = state
                last_h[n, number], last_c[n, number] = state, memory
        x = outputs
    return x, last_h, last_c


def drawn(rng, op, layers, directions, skip):
    """Weights and biases of every cell, by gate and side."""
    found = []
    for number in range(layers * directions):
        first = number < directions
        width = HIDDEN if first and skip else INPUTS if first else directions * HIDDEN
        cells = {}
        for gate, side in product(GATES[op], (True, False)):
            matrix = rng.uniform(-1, 1, (HIDDEN, width if side else HIDDEN)).astype(np.float32)
            cells[gate, side] = (
                None if skip and first and side else matrix,
                rng.uniform(-1, 1, HIDDEN).astype(np.float32),
            )
        found.append(cells)
    return found


def set_all(layer, parameters):
    for number, cells in enumerate(parameters):
        for (gate, side), (weights, bias) in cells.items():
            if weights is not None:
                layer.set_weights_for_gate(number, gate, side, weights)
            layer.set_bias_for_gate(number, gate, side, bias)


def flat(op, parameters):
    order = [(gate, side) for side in (True, False) for gate in GATES[op]]
    cells = [one[key] for one in parameters for key in order]
    return [np.concatenate([v.ravel() for v in part if v is not None]) for part in zip(*cells, strict=True)]


CASES = [
    *((op, 1, False, False) for op in Op),
    *((op, 2, True, False) for op in (Op.LSTM, Op.GRU)),
    (Op.LSTM, 1, True, True),
    (Op.TANH, 2, False, True),
]


@pytest.mark.parametrize(("op", "layers", "both", "skip"), CASES)
@pytest.mark.parametrize("version", [1, 2])
def test_recurrent_layers(rng, op, layers, both, skip, version):
    directions, width = 1 + both, HIDDEN if skip else INPUTS
    parameters = drawn(rng, op, layers, directions, skip)
    data = rng.uniform(-1, 1, (BATCH, STEPS, width)).astype(np.float32)
    h, c = rng.uniform(-1, 1, (2, BATCH, layers * directions, HIDDEN)).astype(np.float32)
    lengths = np.full(BATCH, STEPS, np.int32) if version == 1 else np.array([STEPS, 1, STEPS - 1], np.int32)
    states = expected(op, parameters, data, directions, h, c, lengths)

    network = tw.Builder().create_network(EXPLICIT)
    mode = tw.RNNInputMode.SKIP if skip else tw.RNNInputMode.LINEAR
    direction = tw.RNNDirection.BIDIRECTION if both else tw.RNNDirection.UNIDIRECTION
    given = {"x": data, "h": h}
    if op is Op.LSTM:
        given["c"] = c
    if version == 1:
        given = {name: array.swapaxes(0, 1) for name, array in given.items()}
        states = [state.swapaxes(0, 1) for state in states]
    else:
        given["lengths"] = lengths
    tensors = {name: network.add_input(name, array.dtype, array.shape) for name, array in given.items()}
    if version == 1:
        weights, bias = flat(op, parameters)
        layer = network.add_rnn(tensors["x"], layers, HIDDEN, STEPS, op, mode, direction, weights, bias)
    else:
        layer = network.add_rnn_v2(tensors["x"], layers, HIDDEN, STEPS, op)
        layer.input_mode, layer.direction = mode, direction
        layer.seq_lengths = tensors["lengths"]
        set_all(layer, parameters)
    layer.hidden_state = tensors["h"]
    if op is Op.LSTM:
        layer.cell_state = tensors["c"]
    assert layer.num_outputs == (3 if op is Op.LSTM else 2)
    for number in range(layer.num_outputs):
        layer.get_output(number).name = f"y{number}"
        network.mark_output(layer.get_output(number))
    found = evaluate_graph(network.to_graph(), given)
    for number in range(layer.num_outputs):
        np.testing.assert_allclose(found[f"y{number}"], states[number], rtol=1e-5, atol=1e-6)


def test_a_built_lstm_with_implicit_batch_and_several_leading_axes(rng):
    builder = tw.Builder()
    builder.max_batch_size = BATCH
    network = builder.create_network()
    parameters = drawn(rng, Op.LSTM, 1, 2, False)
    layer = network.add_rnn_v2(network.add_input("x", tw.float32, (2, STEPS, INPUTS)), 1, HIDDEN, STEPS, Op.LSTM)
    layer.direction = tw.RNNDirection.BIDIRECTION
    set_all(layer, parameters)
    assert [layer.get_output(n).shape for n in range(3)] == [(2, STEPS, 2 * HIDDEN), (2, 2, HIDDEN), (2, 2, HIDDEN)]
    for number in range(3):
        layer.get_output(number).name = f"y{number}"
        network.mark_output(layer.get_output(number))
    config = builder.create_builder_config()
    config.builder_optimization_level = 0
    x = rng.uniform(-1, 1, (BATCH, 2, STEPS, INPUTS)).astype(np.float32)
    found = builder.build_engine(network, config)({"x": x})
    zeros = np.zeros((2 * BATCH, 2, HIDDEN))
    wanted = expected(Op.LSTM, parameters, x.reshape(-1, STEPS, INPUTS), 2, zeros, zeros, [STEPS] * 2 * BATCH)
    for number, state in enumerate(wanted):
        np.testing.assert_allclose(found[f"y{number}"], state.reshape(found[f"y{number}"].shape), rtol=1e-4, atol=1e-5)


def test_ragged_softmax(rng):
    network = tw.Builder().create_network()
    scores = network.add_input("x", tw.float32, (4, 7))
    bounds = network.add_input("bounds", tw.int32, (4, 1))
    layer = network.add_ragged_softmax(scores, bounds)
    layer.get_output().name = "y"
    network.mark_output(layer.get_output())
    x = rng.uniform(-5, 5, (2, 4, 7)).astype(np.float32)
    counts = rng.integers(0, 8, (2, 4, 1)).astype(np.int32)
    counts[0, :2, 0] = 0, 7
    e = np.where(np.arange(7) < counts, np.exp(x.astype(np.float64)), 0)
    wanted = e / np.maximum(e.sum(-1, keepdims=True), 1e-300)
    found = evaluate_graph(network.to_graph(max_batch_size=2), {"x": x, "bounds": counts})["y"]
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-12)


class TestErrors:
    @pytest.fixture
    def network(self):
        return tw.Builder().create_network(EXPLICIT)

    @pytest.fixture
    def lstm(self, network):
        x = network.add_input("x", tw.float32, (BATCH, STEPS, INPUTS))
        return network.add_rnn_v2(x, 1, HIDDEN, STEPS, Op.LSTM, name="r")

    def test_gates(self, lstm, rng):
        with pytest.raises(tw.NetworkError, match=r"set_weights_for_gate: LSTM has the gates INPUT, .* found RESET"):
            lstm.set_weights_for_gate(0, Gate.RESET, True, np.ones((HIDDEN, INPUTS)))
        with pytest.raises(tw.NetworkError, match="layer_index: expected a number from 0 to 1, found 2"):
            lstm.set_bias_for_gate(2, Gate.CELL, True, np.ones(HIDDEN))
        with pytest.raises(tw.NetworkError, match=r"'r': layer 0, gate INPUT, input: has no weights; .* = 30 values"):
            _ = lstm.get_output(0).shape
        (parameters,) = drawn(rng, Op.LSTM, 1, 1, False)
        set_all(lstm, [parameters])
        assert np.array_equal(lstm.get_weights_for_gate(0, Gate.CELL, False), parameters[Gate.CELL, False][0])
        lstm.set_weights_for_gate(0, Gate.CELL, False, np.ones(7))
        with pytest.raises(tw.NetworkError, match=r"gate CELL, state: expected .* = 36 values, found 7"):
            _ = lstm.get_output(0).shape

    def test_shapes(self, network, lstm):
        set_all(lstm, drawn(np.random.default_rng(0), Op.LSTM, 1, 1, False))
        lstm.max_seq_length = STEPS + 1
        lstm.changed()
        with pytest.raises(tw.NetworkError, match="expected max_seq_length = 5 steps, found 4"):
            _ = lstm.get_output(0).shape
        lstm.max_seq_length = STEPS
        lstm.input_mode = tw.RNNInputMode.SKIP
        with pytest.raises(tw.NetworkError, match="SKIP: the input goes to the gates as it is, so it needs 6 elements"):
            _ = lstm.get_output(0).shape
        lstm.input_mode = tw.RNNInputMode.LINEAR
        lstm.hidden_state = network.add_input("h", tw.float32, (BATCH, 2, HIDDEN))
        with pytest.raises(tw.NetworkError, match="hidden_state: expected"):
            _ = lstm.get_output(0).shape
        lstm.hidden_state = None
        lstm.seq_lengths = network.add_input("n", tw.float32, (BATCH,))
        with pytest.raises(tw.NetworkError, match="seq_lengths: expected int32"):
            _ = lstm.get_output(0).shape
        lstm.seq_lengths = None
        assert lstm.get_output(1).shape == (BATCH, 1, HIDDEN)

    def test_cells_and_flat_weights(self, network):
        x = network.add_input("x", tw.float32, (STEPS, BATCH, INPUTS))
        arguments = x, 1, HIDDEN, STEPS, Op.GRU, tw.RNNInputMode.LINEAR, tw.RNNDirection.UNIDIRECTION
        with pytest.raises(tw.NetworkError, match="expected 198 values for all gates together, found 3"):
            network.add_rnn(*arguments, np.ones(3, np.float32), np.ones(36, np.float32))
        layer = network.add_rnn(*arguments, np.ones(198, np.float32), np.ones(36, np.float32))
        with pytest.raises(tw.NetworkError, match="cell_state: only LSTM has cells, this is GRU"):
            layer.cell_state = x

    def test_ragged(self, network):
        x, bounds = network.add_input("x", tw.float32, (2, 3)), network.add_input("b", tw.int32, (2,))
        with pytest.raises(tw.NetworkError, match="bounds: expected int32"):
            network.add_ragged_softmax(x, bounds)
