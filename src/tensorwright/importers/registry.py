"""Finds the functions that handle foreign operators: those of a package that are named like one."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType, NoneType, UnionType
from typing import get_args, get_origin, get_type_hints

from tensorwright.base.errors import ImportFailure


@dataclass(frozen=True)
class Handler:
    """A function ``Operator(node, *inputs, **attributes)``, and what it accepts."""

    function: Callable[..., object]
    fewest: int
    most: int | None
    kinds: Mapping[str, object]
    required: frozenset[str]

    @property
    def attributes(self) -> frozenset[str]:
        """The names of the attributes that it takes."""
        return frozenset(self.kinds)

    def __call__(self, node: object, inputs: Sequence[object], attributes: Mapping[str, object]) -> object:
        """What the function gives for a node.

        Args:
            node: what the function works with.
            inputs: the node's inputs.
            attributes: those of the node's attributes that are among `self.attributes`.

        Raises:
            ImportFailure: the node has too few or too many inputs, or an attribute is missing or of the wrong kind.
        """
        if len(inputs) < self.fewest or (self.most is not None and len(inputs) > self.most):
            wanted = str(self.fewest) + ("" if self.most == self.fewest else f" to {self.most or 'any number'}")
            raise ImportFailure(f"expected {wanted} inputs, found {len(inputs)}")
        missing = sorted(self.required - set(attributes))
        if missing:
            raise ImportFailure(f"attribute {', '.join(missing)} is required, but absent")
        for name, value in attributes.items():
            if not _fits(value, self.kinds[name]):
                raise ImportFailure(f"attribute {name} must be {_described(self.kinds[name])}, found {value!r}")
        return self.function(node, *inputs, **attributes)


@cache
def handlers_in(package: str) -> Mapping[str, Handler]:
    """The handlers of all modules of a package: its own functions whose names start with a capital or with `_` and one.

    A name that Python reserves is written with an underscore behind it.
    """
    found: dict[str, Handler] = {}
    for entry in pkgutil.iter_modules(importlib.import_module(package).__path__):
        module = importlib.import_module(f"{package}.{entry.name}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if name[0].isupper() and function.__module__ == module.__name__:
                found[name.rstrip("_")] = _handler(function)
    return MappingProxyType(found)


def _handler(function: Callable[..., object]) -> Handler:
    parameters = list(inspect.signature(function).parameters.values())[1:]
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    hints = get_type_hints(function)
    return Handler(
        function,
        sum(p.default is p.empty for p in positional),
        None if variadic else len(positional),
        MappingProxyType({p.name: hints[p.name] for p in keywords}),
        frozenset(p.name for p in keywords if p.default is p.empty),
    )


def _fits(value: object, kind: object) -> bool:
    """Whether a value is of the kind that a parameter is annotated with."""
    if isinstance(kind, UnionType):
        return any(_fits(value, one) for one in get_args(kind))
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_fits(item, get_args(kind)[0]) for item in value)
    if kind is int or kind is float:
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    return isinstance(kind, type) and isinstance(value, kind)


def _described(kind: object) -> str:
    if isinstance(kind, UnionType):
        return " or ".join(_described(one) for one in get_args(kind) if one is not NoneType)
    if get_origin(kind) is tuple:
        return f"a list, each item {_described(get_args(kind)[0])}"
    known = {int: "an integer", float: "a number", bool: "true or false", str: "a text", bytes: "bytes"}
    return known.get(kind, f"a {getattr(kind, '__name__', kind)}")  # type: ignore[call-overload, no-any-return]
