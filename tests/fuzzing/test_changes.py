"""The changes that make inputs hostile, and what makes them smaller."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto

from fuzzing.checking import shrink
from fuzzing.messages import change, places, smaller
from fuzzing.targets import TARGETS
from fuzzing.texts import changed_document, changed_text, without_words
from importers.onnx.models import model_of, node


def model() -> ModelProto:
    nodes = [node("Relu", "x", "a"), node("Concat", "a x", "b", axis=1), node("Tanh", "b", "y")]
    return model_of(nodes, {"x": (TensorProto.FLOAT, [2, 3])}, ["y"])


@pytest.mark.parametrize("seed", range(40))
def test_changed_messages_are_messages(seed: int) -> None:
    rng, changed = np.random.default_rng(seed), model()
    for _ in range(5):
        change(changed, model(), rng, {})
    ModelProto.FromString(changed.SerializeToString())


def test_every_member_is_changed_some_time() -> None:
    rng, names = np.random.default_rng(0), set()
    for _ in range(600):
        changed = model()
        change(changed, model(), rng, {})
        names |= {field.name for field, _ in changed.graph.ListFields()} if changed != model() else set()
        names |= {n.op_type for n in changed.graph.node}
    assert {"", "node", "output", "Relu"} <= names
    assert any(name not in ("node", "name", "input", "output", "Relu", "Concat", "Tanh") for name in names)


def test_a_message_is_made_smaller() -> None:
    target = next(target for target in TARGETS if target.name == "ONNX node")

    def has_tanh(data: bytes) -> bool:
        return any(n.op_type == "Tanh" for n in ModelProto.FromString(data).graph.node)

    found = ModelProto.FromString(shrink(target, model().SerializeToString(), has_tanh, 20))
    assert [field.name for field, _ in found.ListFields()] == ["graph"]
    (only,) = found.graph.node
    assert (only.op_type, len(only.input), len(only.output)) == ("Tanh", 0, 0)
    assert len(list(smaller(found))) <= len(places(found))


def test_texts_and_documents_are_changed() -> None:
    rng = np.random.default_rng(1)
    assert len({changed_text(b'layer { name: "x" }', rng) for _ in range(50)}) > 30
    assert len({changed_document(b'{"a": [1, 2], "b": {"c": 0.5}}', rng) for _ in range(50)}) > 20
    assert b"a\n" in set(without_words(b"a\nb c\n"))
