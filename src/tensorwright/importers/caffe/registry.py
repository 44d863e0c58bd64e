"""Finds the function that handles a layer type: every function of this folder that is named like one."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TypeVar, cast, get_type_hints

from google.protobuf.message import Message

from tensorwright.base.errors import ImportFailure
from tensorwright.graph.graph import Value
from tensorwright.importers.caffe.layer import Layer
from tensorwright.importers.caffe.schema import Hints, values_of

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
    required: int
    accepted: int | None
    parameters: str
    without_effect: frozenset[str]
    hints: Hints
    mandatory: frozenset[str]

    def __call__(self, layer: Layer, bottoms: Sequence[Value], parameters: Mapping[str, Message]) -> list[Value]:
        """The tops.

        Raises:
            ImportFailure: the layer has too few or too many bottoms, or lacks a parameter.
            Unsupported: a parameter, or a use of the layer, is not supported.
        """
        if len(bottoms) < self.required or (self.accepted is not None and len(bottoms) > self.accepted):
            wanted = f"{self.required}" + ("" if self.accepted == self.required else f" to {self.accepted or 'any'}")
            raise ImportFailure(f"expected {wanted} bottoms, found {len(bottoms)}")
        message = parameters.get(self.parameters)
        values = {} if message is None else values_of(message, self.hints)
        missing = sorted(self.mandatory - set(values))
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
    found: dict[str, Handler] = {}
    for entry in pkgutil.iter_modules(importlib.import_module(PACKAGE).__path__):
        module = importlib.import_module(f"{PACKAGE}.{entry.name}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if name[0].isupper() and function.__module__ == module.__name__:
                found[name] = _handler(function)
    return MappingProxyType(found)


def parameter_messages() -> Mapping[str, Hints]:
    """The fields of every parameter message that a handler reads, by the field of a layer that holds it."""
    found: dict[str, dict[str, object]] = {}
    for handler in handlers().values():
        if handler.parameters:
            found.setdefault(handler.parameters, {}).update(handler.hints)
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
    parameters = list(inspect.signature(function).parameters.values())[1:]
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    hints = get_type_hints(function, include_extras=True)
    message, without_effect = getattr(function, _READS, ("", frozenset()))
    return Handler(
        cast("Callable[..., Results]", function),
        sum(p.default is p.empty for p in positional),
        None if variadic else len(positional),
        message,
        without_effect,
        MappingProxyType({p.name: hints[p.name] for p in keywords}),
        frozenset(p.name for p in keywords if p.default is p.empty),
    )
