"""Networks that nobody wrote by hand are computed right; ``make test-networks`` tries many more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from networks.checking import Verdict, check
from networks.choices import DrawnChoices
from networks.generate import generate, network_of
from networks.isolation import Ended, isolated
from networks.judge import PRECISION, computed, disagreement, expectation, graph_of
from networks.memory import Guarded
from networks.network import Network, Node, Tensor, is_varying, text
from networks.running import MAIN, deal
from networks.shrink import shrink
from tensorwright.graph.graph import Graph, apply, constant_value, input_value
from tensorwright.ops.elementwise import Binary, Cast
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.reduction import Reduction
from tensorwright.tensor.dtype import FLOAT32, FLOAT64
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of

SEEDS = range(8)


@settings(max_examples=20)
@given(st.data())
def test_random_networks(data: st.DataObject) -> None:
    choices = DrawnChoices(lambda low, high: data.draw(st.integers(low, high)))
    network = generate(choices, choices.integer(1, 12))
    configuration = deal(choices, tuned=0)
    verdict = check(network, [configuration], data.draw(st.integers(0, 1 << 30)))
    assert not verdict.is_bad, f"{configuration}: {verdict.detail}\n{text(network)}"


@pytest.mark.parametrize("number", SEEDS)
def test_larger_networks(number: int, rng: np.random.Generator) -> None:
    seed = int(rng.integers(1 << 40))
    verdict = check(network_of(seed), [MAIN], seed)
    assert not verdict.is_bad, f"{verdict.detail}\npython -m networks --seed {seed} --shrink 60"


@pytest.mark.parametrize("seed", range(40))
def test_networks_are_valid_and_stay_within_their_bounds(seed: int) -> None:
    network = network_of(seed)
    model = network.model()
    onnx.checker.check_model(model, full_check=True)
    everything = replace(network, outputs=tuple(t.name for node in network.nodes for t in node.outputs))
    graph = graph_of(everything)
    for assignment in range(network.assignments):
        found = computed(graph, network.draw(np.random.default_rng(seed), assignment))
        for name, array in found.items():
            tensor = network.tensors[name]
            assert array.shape == tensor.extents(assignment), name
            finite = array.astype(np.float64)
            slack = 1e-5 * (1 + tensor.largest)
            assert not array.size or (finite.min() >= tensor.low - slack and finite.max() <= tensor.high + slack), name


def test_every_template_and_configuration_occurs() -> None:
    networks = [network_of(seed) for seed in range(150)]
    operators = {node.operator for network in networks for node in network.nodes}
    assert len(operators) > 80
    assert {t.dtype for network in networks for t in network.tensors.values()} >= {
        "float32", "float16", "float64", "bfloat16", "int32", "int64", "bool", "uint8", "int8",
    }  # fmt: skip
    assert any(is_varying(extent) for network in networks for t in network.inputs for extent in t.shape)
    assert any(tensor.rank == 0 for network in networks for tensor in network.tensors.values())


def scaled(factor: float) -> Network:
    """An addition to its own operand, and much that does not matter."""
    x = Tensor("x", "float32", ((3,), (4,)))
    names = ["x", *(f"t{n}" for n in range(6))]
    nodes = tuple(
        Node(
            "Tanh" if n != 3 else "Add",
            (names[n],) if n != 3 else (names[n], names[n]),
            (replace(x, name=names[n + 1]),),
        )
        for n in range(6)
    )
    return Network((x,), (), nodes, (names[-1], names[2]))


def test_shrinking_leaves_what_matters() -> None:
    def has_addition(network: Network) -> bool:
        return any(node.operator == "Add" for node in network.nodes)

    smaller = shrink(scaled(1.0), has_addition, seconds=20)
    assert [node.operator for node in smaller.nodes] == ["Add"]
    assert smaller.inputs[0].shape == ((1,), (1,))
    graph_of(smaller)


def test_what_is_slightly_wrong_is_found(rng: np.random.Generator) -> None:
    network = network_of(3)
    graph = graph_of(network)
    right = expectation(graph, network.draw(rng), rng)
    for name, array in right.outputs.items():
        assert not disagreement(array.astype(np.float32), array, right.errors[name])
        wrong = array.astype(np.float32)
        wrong[(0,) * wrong.ndim] += 1e-3 * max(1.0, float(np.abs(array).max()))
        assert "1 of" in disagreement(wrong, array, right.errors[name])


def test_moves_do_not_cancel() -> None:
    """The errors of two products of one element, which a wider type shows."""
    x = input_value("x", TensorType(FLOAT32, ()))
    y = apply(Cast(FLOAT64), apply(Binary("mul"), apply(Binary("mul"), x, x), x))
    graph, inputs = Graph((("x", x),), (("y", y),)), {"x": np.array(1, np.float32)}
    errors = [expectation(graph, inputs, np.random.default_rng(seed), trials=6).errors["y"] for seed in range(300)]
    assert min(errors) > PRECISION["float32"]


def test_what_is_lost_in_sums_is_allowed() -> None:
    """A mask of -1e9 leaves nothing of what it is added to, in float32."""
    x = input_value("x", TensorType(FLOAT32, (2,)))
    masked = apply(Binary("add"), x, constant_value(weights_of(np.float32(-1e9))))
    y = apply(Reduction("max", (0,), False), apply(Softmax(0), masked))
    right = expectation(Graph((("x", x),), (("y", y),)), {"x": np.array([-2, 2], np.float32)}, np.random.default_rng(0))
    assert not disagreement(np.float32(0.5), right.outputs["y"], right.errors["y"])


def test_what_is_written_outside_is_found() -> None:
    memory = Guarded(100, 64)
    memory.fill(0xA5)
    memory.bytes[:] = 0
    assert memory.is_intact(0xA5)
    memory.guards[0][-1] = 1
    assert not memory.is_intact(0xA5)


def test_crashes_are_contained() -> None:
    assert isolated(lambda: 5, 10) == 5
    with pytest.raises(Ended, match="exit status 7"):
        isolated(lambda: __import__("os")._exit(7), 10)
    with pytest.raises(Ended, match="within"):
        isolated(lambda: __import__("time").sleep(20), 0.2)


def test_kinds_have_no_numbers() -> None:
    verdicts = [Verdict("different", f"output t{n}: {n} of {n + 5} elements are wrong [threads={n}]") for n in (1, 2)]
    assert verdicts[0].kind == verdicts[1].kind
