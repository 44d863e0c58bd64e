"""What the caller says of the inputs of a UFF model, and how that meets what the model computes with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

from tensorwright.base.errors import ImportFailure
from tensorwright.graph.graph import Value
from tensorwright.importers.composer import Composer
from tensorwright.importers.images import channels_first, channels_last
from tensorwright.importers.uff.fields import field_value
from tensorwright.importers.uff.messages import INCREMENT, Node
from tensorwright.importers.uff.read import UffModel

InputOrder = Literal["NCHW", "NHWC", "NC"]
ON_IMAGES = frozenset({"Conv", "ConvTranspose", "Pool", "BatchNorm", "LRN"})


@dataclass(frozen=True)
class RegisteredInput:
    """An input: its dimensions without the batch, and in which order they are."""

    dims: tuple[int, ...]
    order: InputOrder = "NCHW"

    def __post_init__(self) -> None:
        if not self.dims or any(extent < 1 for extent in self.dims):
            raise ImportFailure(f"an input's dimensions must be positive, found {list(self.dims)}")


Registered = Mapping[str, RegisteredInput]
"""The inputs of a model by name."""


def declared_extents(model: UffModel, node: Node) -> tuple[int, ...]:
    """The extents behind the batch that the file gives an input; nothing where it gives none."""
    if "shape" not in node.fields:
        return ()
    shape = field_value("shape", node.fields["shape"], model.referenced)
    return tuple(n if isinstance(n, int) else -1 for n in shape[1:]) if isinstance(shape, tuple) else ()


def as_computed(composer: Composer, value: Value, given: RegisteredInput, model: UffModel, node: Node) -> Value:
    """The input in the form that the model computes with.

    An image is transposed where the model wants the channels elsewhere; a model that wants a row of numbers gets one.
    """
    declared = declared_extents(model, node)
    count = prod(given.dims)
    if len(declared) == 1 and len(given.dims) > 1 and declared[0] in (-1, count):
        return composer.reshape(value, (value.type.shape[0], count))
    if given.order == "NC" and len(given.dims) > 1 and len(declared) < 2:
        return composer.reshape(value, (value.type.shape[0], count))
    if len(given.dims) < 2 or given.order == "NC":
        return value
    is_last = channels_are_last(given, declared)
    wants_last = _wants_channels_last(model, node.id)
    if wants_last is None:
        wants_last = _declares_channels_last(given, declared, is_last)
    if is_last == wants_last:
        return value
    return channels_last(composer, value) if wants_last else channels_first(composer, value)


def advice(model: UffModel, registered: Registered) -> str:
    """What to try where a network with these inputs does not fit together; nothing without a reason to doubt them."""
    doubtful = [
        name
        for name, given in registered.items()
        if len(given.dims) == 2 and given.order == "NCHW" and _wants_channels_last(model, name)
    ]
    if not doubtful:
        return ""
    return (
        f"; the 2 dimensions of {', '.join(map(repr, doubtful))} are registered as NCHW, so the first one is taken for "
        "the channels: register them as NHWC if they are in TensorFlow's order"
    )


def channels_are_last(given: RegisteredInput, declared: Sequence[int]) -> bool:
    """Whether the registered dimensions have the channels last.

    NHWC with dimensions that fit the declared ones only as CHW counts as CHW: so old programs give them.
    """
    if given.order != "NHWC":
        return False
    moved = (*given.dims[1:], given.dims[0])
    return not (_fits(moved, declared) and not _fits(given.dims, declared))


def _fits(dims: Sequence[int], declared: Sequence[int]) -> bool:
    return len(dims) == len(declared) and all(want in (-1, have) for have, want in zip(dims, declared, strict=True))


def _declares_channels_last(given: RegisteredInput, declared: Sequence[int], is_last: bool) -> bool:
    """The layout in which registered and declared dimensions agree; TensorFlow's own, where both do."""
    first = (given.dims[-1], *given.dims[:-1]) if is_last else given.dims
    last = given.dims if is_last else (*given.dims[1:], given.dims[0])
    if _fits(last, declared) or not declared:
        return bool(declared) or is_last
    return not _fits(first, declared)


def _wants_channels_last(model: UffModel, name: str) -> bool | None:
    """What the operators on images that the input reaches say; None where it reaches none."""
    readers: dict[str, list[Node]] = {}
    for node in model.nodes.values():
        for source in node.inputs:
            readers.setdefault(source, []).append(node)
    seen, waiting = {name}, [name]
    for source in waiting:
        for node in readers.get(source, ()):
            if node.operation in ON_IMAGES and "inputs_orders" in node.fields and node.inputs[0] == source:
                orders = field_value("inputs_orders", node.fields["inputs_orders"], model.referenced)
                return isinstance(orders, tuple) and bool(orders) and orders[0] == (0, 2, INCREMENT, 1)
            if node.id not in seen:
                seen.add(node.id)
                waiting.append(node.id)
    return None
