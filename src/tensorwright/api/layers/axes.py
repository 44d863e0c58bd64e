"""Axes as users count them (without an implicit batch) and as values have them."""

from __future__ import annotations

from tensorwright.api.checks import Ints, as_integer, reduced_axes
from tensorwright.api.layer import Layer
from tensorwright.base.errors import NetworkError
from tensorwright.graph.graph import Value
from tensorwright.ops.checks import show
from tensorwright.tensor.type import Shape


def value_axis(layer: Layer, x: Value, axis: int, name: str = "axis") -> int:
    """An axis of a value, from the user's number, which may count from the end.

    Raises:
        NetworkError: there is no such axis.
    """
    rank = x.type.rank - layer.batch_axes
    number = as_integer(axis)
    if number is None or not -rank <= number < rank:
        shape = show(user_shape(layer, x))
        raise NetworkError(f"{name}: expected an axis from 0 to {rank - 1} of {shape}, found {axis!r}")
    return number % rank + layer.batch_axes


def value_axes(layer: Layer, x: Value, axes: object, name: str = "axes") -> Ints:
    """Axes of a value, from the user's bit mask or sequence."""
    return tuple(axis + layer.batch_axes for axis in reduced_axes(name, axes, x.type.rank - layer.batch_axes))


def channel_axis(layer: Layer, x: Value) -> int:
    """The axis that softmax and concatenation use until told otherwise, as the user counts.

    It is the third from the end, or the first after the batch when there are fewer than three dimensions after it.
    """
    explicit = 0 if layer.batch_axes or x.type.rank == 1 else 1
    return max(explicit, x.type.rank - layer.batch_axes - 3)


def user_shape(layer: Layer, x: Value) -> Shape:
    """The shape as the user knows it: without an implicit batch."""
    return x.type.shape[layer.batch_axes :]
