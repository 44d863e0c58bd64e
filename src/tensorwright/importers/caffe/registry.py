"""Finds the function that handles a layer type: every function of this folder that is named like one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TypeVar, cast

from google.protobuf.message import Message

from tensorwright.base.errors import ImportFailure
from tensorwright.graph.graph import Value
from tensorwright.importers.caffe.layer import Layer
from tensorwright.importers.caffe.schema import Hints, values_of
from tensorwright.importers.registry import Signature, functions_in, signature_of

PACKAGE = "tensorwright.importers.caffe"

Results = Value | list[Value]
Function = TypeVar("Function", bound=Callable[..., Results])

_READS = "reads_caffe_parameters"


def reads(parameters: str, without_effect: Sequence[str] = ()) -> Callable[[Function], Function]:
    """Says where the parameters of a layer type stand: its keyword parameters are fields of that message.

    Args:
        parameters: the field of a layer ("convolution_param").
        without_effect: fields of it that say nothing about what the layer computes, so that no function takes them.
    """

    def mark(function: Function) -> Function:
        setattr(function, _READS, (parameters, frozenset(without_effect)))
        return function

    return mark


@dataclass(frozen=True)
class Handler:
    """A function ``Type(layer, *bottoms, **parameters)`` that gives the top, or a list of all tops."""

    function: Callable[..., Results]
    signature: Signature
    parameters: str
    without_effect: frozenset[str]

    def __call__(self, layer: Layer, bottoms: Sequence[Value], parameters: Mapping[str, Message]) -> list[Value]:
        """The tops.

        Raises:
            ImportFailure: the layer has too few or too many bottoms, or lacks a parameter.
            Unsupported: a parameter, or a use of the layer, is not supported.
        """
        self.signature.check_inputs(len(bottoms), "bottoms")
        message = parameters.get(self.parameters)
        values = {} if message is None else values_of(message, self.signature.kinds)
        missing = sorted(self.signature.required - set(values))
        if missing:
            raise ImportFailure(f"{self.parameters}: {', '.join(missing)} is required, but absent; say it")
        for name in sorted(set(parameters) - {self.parameters}):
            layer.warn(f"{name} has no effect in a layer of the type {layer.type}")
        results = self.function(layer, *bottoms, **values)
        return results if isinstance(results, list) else [results]


def handler_of(type: str) -> Handler | None:
    """The handler of a layer type; None where there is none."""
    return handlers().get(type)


@cache
def handlers() -> Mapping[str, Handler]:
    """All handlers by layer type."""
    return MappingProxyType({name: _handler(function) for _, name, function in functions_in(PACKAGE)})


def parameter_messages() -> Mapping[str, Hints]:
    """The fields of every parameter message that a handler reads, by the field of a layer that holds it."""
    found: dict[str, dict[str, object]] = {}
    for handler in handlers().values():
        if handler.parameters:
            found.setdefault(handler.parameters, {}).update(handler.signature.kinds)
    return MappingProxyType(found)


def message_name(parameters: str) -> str:
    """The name of the message in a field of a layer: ConvolutionParameter for convolution_param."""
    return "".join(part.capitalize() for part in parameters.removesuffix("_param").split("_")) + "Parameter"


def fields_without_effect() -> Mapping[str, frozenset[str]]:
    """Fields that are known to say nothing, by the name of their message."""
    found: dict[str, frozenset[str]] = {}
    for handler in handlers().values():
        name = message_name(handler.parameters)
        found[name] = found.get(name, frozenset()) | handler.without_effect
    return MappingProxyType(found)


def _handler(function: Callable[..., object]) -> Handler:
    message, without_effect = getattr(function, _READS, ("", frozenset()))
    signature = signature_of(function, include_extras=True)
    return Handler(cast("Callable[..., Results]", function), signature, message, without_effect)
