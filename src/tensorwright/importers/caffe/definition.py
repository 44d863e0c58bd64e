"""Network definitions (prototxt files): inputs and layers, of all three generations of the format."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from google.protobuf.message import Message

from tensorwright.base.errors import ImportFailure
from tensorwright.importers.caffe import registry
from tensorwright.importers.caffe.first_generation import WITHOUT_EFFECT, Oldest, Placed, upgraded, without_padding
from tensorwright.importers.caffe.rules import NetState, NetStateRule, is_included
from tensorwright.importers.caffe.schema import BlobShape, Choice, Hints, Many, describe, hints_of, record_of, values_of
from tensorwright.importers.files import read_bytes
from tensorwright.importers.protobuf import message_classes
from tensorwright.importers.prototext import LARGEST_TEXT, UnknownField, parse_text, plain_fields

WHAT = "a Caffe network definition (prototxt)"
SHOWN_WARNINGS = 20
Source = str | os.PathLike[str] | bytes

# The types of the previous generation, with the names that they have now, in the order of the labels.
_OLD_TYPES = {
    "ABSVAL": "AbsVal", "ACCURACY": "Accuracy", "ARGMAX": "ArgMax", "BNLL": "BNLL", "CONCAT": "Concat",
    "CONTRASTIVE_LOSS": "ContrastiveLoss", "CONVOLUTION": "Convolution", "CROP": "Crop", "DATA": "Data",
    "DECONVOLUTION": "Deconvolution", "DROPOUT": "Dropout", "DUMMY_DATA": "DummyData", "ELTWISE": "Eltwise",
    "EUCLIDEAN_LOSS": "EuclideanLoss", "EXP": "Exp", "FLATTEN": "Flatten", "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output", "HINGE_LOSS": "HingeLoss", "IM2COL": "Im2col", "IMAGE_DATA": "ImageData",
    "INFOGAIN_LOSS": "InfogainLoss", "INNER_PRODUCT": "InnerProduct", "LRN": "LRN", "MEMORY_DATA": "MemoryData",
    "MULTINOMIAL_LOGISTIC_LOSS": "MultinomialLogisticLoss", "MVN": "MVN", "NONE": "None", "POOLING": "Pooling",
    "POWER": "Power", "PRELU": "PReLU", "RELU": "ReLU", "SIGMOID": "Sigmoid",
    "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss", "SILENCE": "Silence", "SLICE": "Slice",
    "SOFTMAX": "Softmax", "SOFTMAX_LOSS": "SoftmaxWithLoss", "SPLIT": "Split", "TANH": "TanH",
    "THRESHOLD": "Threshold", "WINDOW_DATA": "WindowData",
}  # fmt: skip

_OLD_TYPE = Choice(tuple(_OLD_TYPES))

_TRAINING = (
    "blob_share_mode", "blobs_lr", "data_param", "dummy_data_param", "hdf5_data_param", "image_data_param",
    "loss_param", "loss_weight", "param", "propagate_down", "transform_param", "weight_decay", "window_data_param",
)  # fmt: skip
_WITHOUT_EFFECT = {
    "NetParameter": frozenset({"debug_info", "force_backward"}),
    "LayerParameter": frozenset({*_TRAINING, "phase"}),
    "V1LayerParameter": frozenset(_TRAINING),
    "Oldest": WITHOUT_EFFECT,
}


@dataclass(frozen=True)
class LayerDefinition:
    """A layer: its name and type, the blobs that it reads and makes, and its parameters as messages by field.

    unknown: fields that are not described, as plain values.
    """

    name: str = ""
    type: str = ""
    bottom: tuple[str, ...] = ()
    top: tuple[str, ...] = ()
    parameters: Mapping[str, Message] = field(default_factory=dict)
    unknown: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Definition:
    """The inputs that a network declares (without a shape: None) and its layers, in order."""

    label: str
    name: str
    inputs: tuple[tuple[str, tuple[int, ...] | None], ...]
    layers: tuple[LayerDefinition, ...]
    unknown: tuple[UnknownField, ...]

    def warnings(self, read: Collection[str]) -> tuple[str, ...]:
        """What to tell of fields that are not described, but for fields of layers that somebody has read."""
        return _warnings([f for f in self.unknown if f.message != "LayerParameter" or f.name not in read], self.label)


@dataclass(frozen=True)
class _Common:
    """What layers of both generations say."""

    name: str = ""
    bottom: tuple[str, ...] = ()
    top: tuple[str, ...] = ()
    include: tuple[NetStateRule, ...] = ()
    exclude: tuple[NetStateRule, ...] = ()


@dataclass(frozen=True)
class _Layer(_Common):
    type: str = ""


@dataclass(frozen=True)
class _OldLayer(_Common):
    type: str = "NONE"
    layer: Oldest | None = None


@dataclass(frozen=True)
class _Net:
    name: str = "network"
    input: tuple[str, ...] = ()
    input_dim: tuple[int, ...] = ()
    input_shape: tuple[BlobShape, ...] = ()
    state: NetState = field(default_factory=NetState)


def read_definition(source: Source, state: NetState) -> Definition:
    """The definition of a network as it is used in a state.

    Args:
        source: a path, or the text as bytes.
        state: the phase, level and stages for which layers are kept. What the definition itself says of its level and
            stages is added.

    Raises:
        ImportFailure: it cannot be read, or is no network definition.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        label, data = "definition", bytes(source)
    else:
        label, data = str(source), read_bytes(source, WHAT, LARGEST_TEXT)
    message, unknown = parse_text(_net_class(), data, label, WHAT, _without_effect())
    net = record_of(message, _Net)
    layers = _layers(message, label)
    if any(one.message == "LayerParameter" for one in unknown):
        layers = _with_unknown(layers, plain_fields(data))
    if not layers and not net.input:
        raise ImportFailure(f"{label}: expected {WHAT}, found no layers in it; is it the right file?")
    own = NetState(state.phase, state.level or net.state.level, (*state.stage, *net.state.stage))
    kept = tuple(layer for rules, layer in layers if is_included(rules.include, rules.exclude, own))
    return Definition(label, net.name, _inputs(net, label), kept, unknown)


@cache
def _net_class() -> type[Message]:
    parameters = registry.parameter_messages()
    fields = {name: registry.message_name(name) for name in parameters}
    messages: dict[str, Hints] = {
        "NetParameter": {
            **hints_of(_Net),
            "layer": Many("LayerParameter"),
            "layers": Many("V1LayerParameter"),
        },
        "LayerParameter": {**hints_of(_Layer), **fields},
        "V1LayerParameter": {**hints_of(_OldLayer), "type": _OLD_TYPE, **fields},
    }
    messages |= {registry.message_name(name): hints for name, hints in parameters.items()}
    return message_classes("caffe", describe(messages))["NetParameter"]


def _layers(message: Message, label: str) -> list[tuple[_Common, LayerDefinition]]:
    """All layers, whatever the state, each with its rules."""
    new, old = (_messages(message, name) for name in ("layer", "layers"))
    if new and old:
        raise ImportFailure(f"{label}: has layers of two generations of the format ('layer' and 'layers'); keep one")
    found: list[tuple[_Common, LayerDefinition]] = []
    if any(proto.HasField("layer") for proto in old):
        return _first_generation(old, label)
    for proto in new or old:
        common, type = (_new_layer if new else _old_layer)(proto)
        if common.include and common.exclude:
            raise ImportFailure(f"{label}: layer '{common.name}': has rules of both kinds, include and exclude")
        parameters = {f.name: value for f, value in proto.ListFields() if f.name.endswith("_param")}
        found.append((common, LayerDefinition(common.name, type, common.bottom, common.top, parameters)))
    return found


def _with_unknown(
    layers: list[tuple[_Common, LayerDefinition]], plain: Mapping[str, object]
) -> list[tuple[_Common, LayerDefinition]]:
    """The layers with their fields that are not described."""
    said = plain.get("layer")
    blocks = said if isinstance(said, list) else [said]
    if len(blocks) != len(layers):
        return layers
    described = _net_class().DESCRIPTOR.fields_by_name["layer"].message_type
    known = set() if described is None else set(described.fields_by_name)
    found, without_effect = [], _WITHOUT_EFFECT["LayerParameter"]
    for (common, layer), block in zip(layers, blocks, strict=True):
        fields = block if isinstance(block, dict) else {}
        left = {name: value for name, value in fields.items() if name not in known and name not in without_effect}
        found.append((common, replace(layer, unknown=left)))
    return found


def _new_layer(proto: Message) -> tuple[_Common, str]:
    layer = record_of(proto, _Layer)
    return layer, layer.type


def _old_layer(proto: Message) -> tuple[_Common, str]:
    layer = _read_old(proto)
    return layer, _OLD_TYPES[layer.type]


def _read_old(proto: Message) -> _OldLayer:
    return _OldLayer(**values_of(proto, {**hints_of(_OldLayer), "type": _OLD_TYPE}))


def _first_generation(protos: Sequence[Message], label: str) -> list[tuple[_Common, LayerDefinition]]:
    """Layers of the first generation, in the words of the next one."""
    read = [_read_old(proto) for proto in protos]
    mixed = [layer.name for layer in read if layer.layer is None]
    if mixed:
        raise ImportFailure(
            f"{label}: layer '{mixed[0]}': is of a later generation of the format than other layers; convert those"
        )
    placed = [Placed(layer.layer, layer.bottom, layer.top) for layer in read if layer.layer is not None]
    found: list[tuple[_Common, LayerDefinition]] = []
    for common, one in zip(read, without_padding(placed, label), strict=True):
        if one is not None:
            try:
                type, parameters = upgraded(one.layer, protos[0])
            except ImportFailure as error:
                raise ImportFailure(f"{label}: layer '{one.layer.name}': {error}") from None
            found.append((common, LayerDefinition(one.layer.name, type, one.bottom, one.top, parameters)))
    return found


def _messages(message: Message, name: str) -> Sequence[Message]:
    found: Sequence[Message] = getattr(message, name)
    return found


def _inputs(net: _Net, label: str) -> tuple[tuple[str, tuple[int, ...] | None], ...]:
    shapes: list[tuple[int, ...] | None] = [shape.dim for shape in net.input_shape]
    if not shapes:
        shapes = [net.input_dim[start : start + 4] for start in range(0, len(net.input_dim), 4)]
    if not shapes:
        shapes = [None] * len(net.input)
    whole = bool(net.input_shape) or len(net.input_dim) % 4 == 0
    if len(shapes) != len(net.input) or not whole:
        found = f"{len(net.input_shape)} input_shape" if net.input_shape else f"{len(net.input_dim)} input_dim"
        raise ImportFailure(
            f"{label}: has {len(net.input)} input and {found}; each input needs an input_shape or four input_dim"
        )
    return tuple(zip(net.input, shapes, strict=True))


def _warnings(unknown: Sequence[UnknownField], label: str) -> tuple[str, ...]:
    messages = [
        f"{label}: line {f.line}: field '{f.name[:100]}' of {f.message.removesuffix('Parameter')} is not known and "
        "has no effect"
        for f in unknown[:SHOWN_WARNINGS]
    ]
    more = len(unknown) - len(messages)
    return (*messages, f"{label}: {more} more fields are not known and have no effect") if more else tuple(messages)


def _without_effect() -> Mapping[str, frozenset[str]]:
    return {**registry.fields_without_effect(), **_WITHOUT_EFFECT}
