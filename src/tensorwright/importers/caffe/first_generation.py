"""Layers of the first generation of the format, said in the words of the next one.

A layer was ``layers { layer { name: "c" type: "conv" num_output: 20 kernelsize: 5 } bottom: "data" top: "c" }``.
Padding was a layer of its own, before the convolution or pooling that it belongs to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, cast

from google.protobuf.message import Message

from tensorwright.base.errors import ImportFailure
from tensorwright.importers.caffe.schema import Unsigned


@dataclass(frozen=True)
class Oldest:
    """What a layer says; whatever is absent has the default of the layer."""

    name: str = ""
    type: str = ""
    num_output: Unsigned | None = None
    biasterm: bool | None = None
    pad: Unsigned | None = None
    kernelsize: Unsigned | None = None
    group: Unsigned | None = None
    stride: Unsigned | None = None
    pool: Literal["MAX", "AVE", "STOCHASTIC"] | None = None
    dropout_ratio: float | None = None
    local_size: Unsigned | None = None
    alpha: float | None = None
    beta: float | None = None
    k: float | None = None
    concat_dim: Unsigned | None = None


WITHOUT_EFFECT = frozenset({
    "batchsize", "blobs_lr", "cropsize", "det_bg_threshold", "det_context_pad", "det_crop_mode", "det_fg_fraction",
    "det_fg_threshold", "hdf5_output_param", "meanfile", "mirror", "new_height", "new_num", "new_channels", "new_width",
    "rand_skip", "scale", "shuffle_images", "source", "weight_decay",
    "weight_filler", "bias_filler",
})  # fmt: skip

TYPES: Mapping[str, str] = MappingProxyType({
    "accuracy": "Accuracy", "bnll": "BNLL", "concat": "Concat", "conv": "Convolution", "data": "Data",
    "dropout": "Dropout", "euclidean_loss": "EuclideanLoss", "flatten": "Flatten", "hdf5_data": "HDF5Data",
    "hdf5_output": "HDF5Output", "im2col": "Im2col", "images": "ImageData", "infogain_loss": "InfogainLoss",
    "innerproduct": "InnerProduct", "lrn": "LRN", "multinomial_logistic_loss": "MultinomialLogisticLoss",
    "padding": "padding", "pool": "Pooling", "relu": "ReLU", "sigmoid": "Sigmoid", "softmax": "Softmax",
    "softmax_loss": "SoftmaxWithLoss", "split": "Split", "tanh": "TanH", "window_data": "WindowData",
})  # fmt: skip

_FIELDS: Mapping[str, tuple[str, Mapping[str, str]]] = MappingProxyType({
    "conv": (
        "convolution_param",
        {"num_output": "num_output", "biasterm": "bias_term", "pad": "pad", "kernelsize": "kernel_size",
         "group": "group", "stride": "stride"},
    ),
    "innerproduct": ("inner_product_param", {"num_output": "num_output", "biasterm": "bias_term"}),
    "pool": ("pooling_param", {"pool": "pool", "pad": "pad", "kernelsize": "kernel_size", "stride": "stride"}),
    "lrn": ("lrn_param", {"local_size": "local_size", "alpha": "alpha", "beta": "beta", "k": "k"}),
    "concat": ("concat_param", {"concat_dim": "concat_dim"}),
})  # fmt: skip


def upgraded(layer: Oldest, like: Message) -> tuple[str, Mapping[str, Message]]:
    """Type and parameters of a layer as the later generations say them; `like` is a message with their fields.

    Raises:
        ImportFailure: the type, or a field for the type, is not known.
    """
    if layer.type not in TYPES:
        raise ImportFailure(f"the type '{layer.type}' is not one of the first generation: {', '.join(TYPES)}")
    if layer.type == "padding":
        return "padding", {}
    name, fields = _FIELDS.get(layer.type, ("", {}))
    made = cast("Any", type(like)())
    for field, renamed in fields.items():
        value = getattr(layer, field)
        if value is not None:
            _set(getattr(made, name), renamed, value)
    return TYPES[layer.type], {field.name: value for field, value in made.ListFields()}


def _set(message: Any, name: str, value: object) -> None:  # noqa: ANN401  # Made at run time.
    field = message.DESCRIPTOR.fields_by_name[name]
    if field.enum_type is not None:
        value = field.enum_type.values_by_name[value].number
    if name in ("pad", "kernel_size", "stride") and hasattr(getattr(message, name), "append"):
        getattr(message, name).append(value)
    else:
        setattr(message, name, value)


@dataclass(frozen=True)
class Padding:
    """A layer of padding: what it reads and makes, and how much it adds."""

    bottom: str
    top: str
    pad: int


@dataclass(frozen=True)
class Placed:
    """A layer of the first generation, and its ends."""

    layer: Oldest
    bottom: tuple[str, ...]
    top: tuple[str, ...]


def without_padding(layers: Sequence[Placed], label: str) -> list[Placed | None]:
    """The layers, None for each layer of padding, whose padding goes to the layer that reads it.

    Raises:
        ImportFailure: something else than a convolution or a pooling layer reads a padded blob.
    """
    paddings: dict[str, Padding] = {}
    found: list[Placed | None] = []
    for placed in layers:
        layer = placed.layer
        if layer.type == "padding":
            if len(placed.bottom) != 1 or len(placed.top) != 1:
                raise ImportFailure(f"{label}: layer '{layer.name}': padding has one bottom and one top")
            paddings[placed.top[0]] = Padding(placed.bottom[0], placed.top[0], layer.pad or 0)
            found.append(None)
            continue
        padded = [paddings[name] for name in placed.bottom if name in paddings]
        if padded and (layer.type not in ("conv", "pool") or len(placed.bottom) != 1):
            raise ImportFailure(
                f"{label}: layer '{layer.name}' ({layer.type}): reads '{padded[0].top}' of a layer of padding; only "
                "convolution and pooling can"
            )
        for name in placed.top:
            paddings.pop(name, None)
        found.append(_padded(placed, padded[0]) if padded else placed)
    return found


def _padded(placed: Placed, padding: Padding) -> Placed:
    layer = replace(placed.layer, pad=(placed.layer.pad or 0) + padding.pad)
    return replace(placed, layer=layer, bottom=(padding.bottom,))
