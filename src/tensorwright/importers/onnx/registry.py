"""Finds the function that handles an operator: every function of this folder that is named like one."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import cast

from tensorwright.base.errors import ImportFailure
from tensorwright.importers.failures import Unsupported
from tensorwright.importers.onnx.node import Node, Term

PACKAGE = "tensorwright.importers.onnx"
STANDARD = ""

Results = Term | list[Term]


@dataclass(frozen=True)
class Handler:
    """A function ``Operator(node, *inputs, **attributes)`` that gives the output, or a list of all outputs."""

    function: Callable[..., Results]
    required: int
    accepted: int | None
    attributes: frozenset[str]

    def __call__(self, node: Node, inputs: Sequence[Term], attributes: Mapping[str, object]) -> list[Term]:
        """The outputs.

        Raises:
            ImportFailure: the node has too few or too many inputs, or lacks an attribute.
            Unsupported: an attribute, or a use of the operator, is not supported.
        """
        unknown = sorted(set(attributes) - self.attributes)
        if unknown:
            raise Unsupported(f"attribute {', '.join(unknown)} is not supported")
        given = list(inputs)
        while len(given) > self.required and given[-1] is None:
            given.pop()
        if len(given) < self.required or (self.accepted is not None and len(given) > self.accepted):
            wanted = f"{self.required}" + ("" if self.accepted == self.required else f" to {self.accepted or 'any'}")
            raise ImportFailure(f"expected {wanted} inputs, found {len(given)}")
        for number, value in enumerate(given[: self.required]):
            if value is None:
                raise ImportFailure(f"input {number} is required, but empty")
        missing = sorted(_required_attributes(self.function) - set(attributes))
        if missing:
            raise ImportFailure(f"attribute {', '.join(missing)} is required, but absent")
        results = self.function(node, *given, **attributes)
        return results if isinstance(results, list) else [results]


def handler_of(domain: str, operator: str) -> Handler | None:
    """The handler of an operator; None where there is none."""
    return handlers().get((domain, operator))


@cache
def handlers() -> Mapping[tuple[str, str], Handler]:
    """All handlers by domain and operator. A module for another domain names it in its constant DOMAIN."""
    found: dict[tuple[str, str], Handler] = {}
    for entry in pkgutil.iter_modules(importlib.import_module(PACKAGE).__path__):
        module = importlib.import_module(f"{PACKAGE}.{entry.name}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if name[0].isupper() and function.__module__ == module.__name__:
                found[getattr(module, "DOMAIN", STANDARD), name] = _handler(function)
    return MappingProxyType(found)


def _handler(function: Callable[..., object]) -> Handler:
    parameters = list(inspect.signature(function).parameters.values())[1:]
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return Handler(
        cast("Callable[..., Results]", function),
        sum(p.default is p.empty for p in positional),
        None if variadic else len(positional),
        frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY),
    )


@cache
def _required_attributes(function: Callable[..., object]) -> frozenset[str]:
    parameters = inspect.signature(function).parameters.values()
    return frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty)
