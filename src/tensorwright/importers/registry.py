"""Finds the functions that handle foreign operators, those of a package that are named like one, and checks calls."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType, ModuleType, NoneType, UnionType
from typing import get_args, get_origin, get_type_hints

from tensorwright.base.errors import ImportFailure


@dataclass(frozen=True)
class Signature:
    """What a function ``Operator(node, *inputs, **attributes)`` accepts.

    fewest, most: how many inputs; no limit where `most` is None.
    kinds: the types of the attributes by name. required: those without a default.
    """

    fewest: int
    most: int | None
    kinds: Mapping[str, object]
    required: frozenset[str]

    def check_inputs(self, count: int, what: str = "inputs") -> None:
        """Refuse a number of inputs.

        Raises:
            ImportFailure: there are too few or too many; the message calls them `what`.
        """
        if count < self.fewest or (self.most is not None and count > self.most):
            upwards = " or more" if self.most is None else "" if self.most == self.fewest else f" to {self.most}"
            wanted = f"{self.fewest}{upwards}"
            raise ImportFailure(f"expected {wanted} {what}, found {count}")

    def check_attributes(self, attributes: Mapping[str, object]) -> None:
        """Refuse values of attributes, all of which the function has to know.

        Raises:
            ImportFailure: one is missing, or of the wrong kind.
        """
        missing = sorted(self.required - set(attributes))
        if missing:
            raise ImportFailure(f"attribute {', '.join(missing)} is required, but absent")
        for name, value in attributes.items():
            if not _fits(value, self.kinds[name]):
                raise ImportFailure(f"attribute {name} must be {_described(self.kinds[name])}, found {value!r}")


def signature_of(function: Callable[..., object], *, include_extras: bool = False) -> Signature:
    """What a function accepts, by its annotations; `include_extras` keeps what they say beside the types."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    hints = get_type_hints(function, include_extras=include_extras)
    return Signature(
        sum(p.default is p.empty for p in positional),
        None if variadic else len(positional),
        MappingProxyType({p.name: hints[p.name] for p in keywords}),
        frozenset(p.name for p in keywords if p.default is p.empty),
    )


def functions_in(package: str) -> Iterator[tuple[ModuleType, str, Callable[..., object]]]:
    """The functions of all modules of a package that are named like operators: with a capital in front.

    A name that Python reserves is written with an underscore behind it.
    """
    for entry in pkgutil.iter_modules(importlib.import_module(package).__path__):
        module = importlib.import_module(f"{package}.{entry.name}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if name[0].isupper() and function.__module__ == module.__name__:
                yield module, name.rstrip("_"), function


@dataclass(frozen=True)
class Handler:
    """A function ``Operator(node, *inputs, **attributes)``, and what it accepts."""

    function: Callable[..., object]
    signature: Signature

    @property
    def attributes(self) -> frozenset[str]:
        """The names of the attributes that it takes."""
        return frozenset(self.signature.kinds)

    def __call__(self, node: object, inputs: Sequence[object], attributes: Mapping[str, object]) -> object:
        """What the function gives for a node.

        Args:
            node: what the function works with.
            inputs: the node's inputs.
            attributes: those of the node's attributes that are among `self.attributes`.

        Raises:
            ImportFailure: the node has too few or too many inputs, or an attribute is missing or of the wrong kind.
        """
        self.signature.check_inputs(len(inputs))
        self.signature.check_attributes(attributes)
        return self.function(node, *inputs, **attributes)


@cache
def handlers_in(package: str) -> Mapping[str, Handler]:
    """The handlers of all modules of a package."""
    return MappingProxyType(
        {name: Handler(function, signature_of(function)) for _, name, function in functions_in(package)}
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
