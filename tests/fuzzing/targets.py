"""What is attacked, and how."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message

from fuzzing import seeds, taking
from fuzzing.hostile_nodes import change_model
from fuzzing.messages import change, changed_bytes, is_set, places, smaller
from fuzzing.texts import changed_document, changed_text, without_words
from plan.manifests import with_manifest
from tensorwright.importers.caffe.blobs import model_messages
from tensorwright.importers.registry import handlers_in
from tensorwright.importers.tensorflow.messages import graph_class
from tensorwright.importers.tensorflow.translate import OPERATORS as TENSORFLOW
from tensorwright.importers.uff.messages import meta_graph_class
from tensorwright.importers.uff.translate import OPERATORS as UFF
from tensorwright.plan.seal import seal_of

Rng = np.random.Generator
RAW = 0.05
"""The share of messages of which bytes are changed, whatever they mean."""
KNOWING = 0.6
"""The share of changes of ONNX models that know what they change."""
NAMES = ("NodeProto.input", "NodeProto.output", "ValueInfoProto.name", "TensorProto.name", "NodeDef.name",
         "NodeDef.input", "Node.id", "Node.inputs", "LayerParameter.name")  # fmt: skip


@dataclass(frozen=True)
class Target:
    """make: a hostile input. take: what the project does with one; the number of outputs that were right. less: inputs
    that lack something of one. weight: how often it is attacked.
    """

    name: str
    make: Callable[[Rng], bytes]
    take: Callable[[bytes, Rng], int]
    less: Callable[[bytes], Iterator[bytes]]
    weight: int = 1


def _one(rng: Rng, given: Sequence[bytes]) -> bytes:
    return given[int(rng.integers(len(given)))]


@cache
def _words() -> Mapping[str, Sequence[str]]:
    operators = sorted({schema.name for schema in onnx.defs.get_all_schemas()})
    attributes = sorted({name for schema in onnx.defs.get_all_schemas() for name in schema.attributes})
    return {
        "NodeProto.op_type": operators,
        "AttributeProto.name": attributes,
        "NodeDef.op": sorted(handlers_in(TENSORFLOW)),
        "Node.operation": sorted(handlers_in(UFF)),
    }


def _message(kind: type[Message], draw: Callable[[Rng], bytes]) -> Callable[[Rng], bytes]:
    def make(rng: Rng) -> bytes:
        data = draw(rng)
        if rng.random() < RAW:
            return changed_bytes(data, rng)
        message, donor = kind.FromString(data), kind.FromString(draw(rng))
        known = {text for p in places(message) if p.name in NAMES and is_set(p) for text in _texts(p.value)}
        words = {**_words(), **dict.fromkeys(NAMES, sorted(known))}
        for _ in range(int(rng.choice((1, 1, 1, 2, 2, 3, 6)))):
            if isinstance(message, onnx.ModelProto) and rng.random() < KNOWING:
                change_model(message, rng)
            else:
                change(message, donor, rng, words)
        return message.SerializeToString(deterministic=True)

    return make


def _texts(value: object) -> Iterator[str]:
    yield from [value] if isinstance(value, str) else value


def _less(kind: type[Message]) -> Callable[[bytes], Iterator[bytes]]:
    def less(data: bytes) -> Iterator[bytes]:
        try:
            message = kind.FromString(data)
        except DecodeError:
            yield from shorter(data)
            return
        for candidate in smaller(message):
            yield candidate.SerializeToString(deterministic=True)

    return less


def shorter(data: bytes) -> Iterator[bytes]:
    size = len(data) // 2
    while size:
        yield from (data[:at] + data[at + size :] for at in range(0, len(data), size))
        size //= 2


def _plan(rng: Rng) -> bytes:
    content = seeds.plan()
    if rng.random() < 0.2:
        return changed_bytes(content, rng)
    return with_manifest(content, lambda text: changed_document(text, rng))


SEALED = frozenset({"arena_bytes", "workspace_bytes", "bindings", "symbols", "steps", "threads", "report", "name"})


def _sealed_plan(rng: Rng) -> bytes:
    content = seeds.plan()
    digests = [struct.unpack_from("<QQ16s", content, 24 + 32 * number)[2] for number in (1, 2)]

    def change_manifest(text: bytes) -> bytes:
        document = json.loads(changed_document(text, rng, SEALED))
        seal = seal_of({key: document[key] for key in document}, *digests)
        return json.dumps({**document, "seal": seal}).encode()

    return with_manifest(content, change_manifest)


def _node_model(rng: Rng) -> bytes:
    return _one(rng, seeds.node_models())


def _message_target(
    name: str,
    kind: type[Message],
    draw: Callable[[Rng], bytes],
    take: Callable[[bytes, Rng], int],
    weight: int,
) -> Target:
    return Target(name, _message(kind, draw), take, _less(kind), weight)


def _text_target(name: str, draw: Callable[[], Sequence[bytes]], take: Callable[[bytes, Rng], int]) -> Target:
    return Target(name, lambda rng: changed_text(_one(rng, draw()), rng), take, without_words)


def _nothing(data: bytes) -> Iterator[bytes]:
    yield from ()


TARGETS = (
    _message_target("ONNX node", onnx.ModelProto, _node_model, taking.onnx_model, 8),
    _message_target("ONNX network", onnx.ModelProto, seeds.network_model, taking.onnx_model, 4),
    _message_target("ONNX large", onnx.ModelProto, lambda rng: _one(rng, seeds.light_models()), taking.onnx_import, 1),
    _message_target("TensorFlow", graph_class(), lambda rng: _one(rng, seeds.frozen_graphs()), taking.frozen_graph, 4),
    _message_target("UFF", meta_graph_class(), lambda rng: _one(rng, seeds.uff_models()), taking.uff_model, 4),
    _text_target("Caffe definition", seeds.definitions, taking.definition),
    _message_target(
        "Caffe model", model_messages()["NetParameter"], lambda rng: seeds.caffe.MODEL, taking.caffe_model, 1
    ),
    Target("plan", _plan, taking.plan, _nothing, 2),
    Target("plan, sealed", _sealed_plan, taking.sealed_plan, _nothing, 2),
    _text_target("timing cache", lambda: [seeds.timing_cache()], taking.timing_cache),
    _text_target("calibration table", lambda: [seeds.calibration_table()], taking.calibration_table),
)


def sample(seed: int, names: Sequence[str] = ()) -> tuple[Target, bytes]:
    """The target and the input of a seed. names: of the targets to choose from; all if there are none."""
    rng = np.random.default_rng([seed, 77])
    among = [target for target in TARGETS if not names or target.name in names]
    weights = np.array([target.weight for target in among], float)
    target = among[int(rng.choice(len(among), p=weights / weights.sum()))]
    return target, target.make(rng)
