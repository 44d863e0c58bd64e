"""Typed Python as the description of messages in text form, so that a field is said once, with its default.

A message is a frozen dataclass, or the keyword parameters of a function; fields that may be absent have a default. The
numbers of fields do not occur in text, so none are said.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from google.protobuf.message import Message

Unsigned = Annotated[int, "uint32"]
"""An integer that the parser refuses below 0."""
Long = Annotated[int, "int64"]

Hints = Mapping[str, object]
Record = TypeVar("Record")


@dataclass(frozen=True)
class Many:
    """Any number of messages that are described elsewhere."""

    message: str


@dataclass(frozen=True)
class Choice:
    """One of some labels."""

    labels: tuple[str, ...]


_SCALARS = {int: "int32", bool: "bool", float: "float", str: "string"}


@dataclass(frozen=True)
class BlobShape:
    """The extents of a tensor."""

    dim: tuple[Long, ...] = ()


def describe(messages: Mapping[str, Hints]) -> str:
    """A description as `tensorwright.importers.protobuf` takes it, from the types of fields by message and field."""
    sections: dict[str, list[str]] = {}
    for name, hints in messages.items():
        _add(name, hints, sections)
    return "\n".join(line for name, members in sections.items() for line in (name, *members))


def hints_of(record: type) -> Hints:
    """The types of the fields of a dataclass."""
    return _hints(record)


@cache
def _hints(record: type[object]) -> Hints:
    return get_type_hints(record, include_extras=True)


def record_of(message: Message, kind: type[Record]) -> Record:
    """The fields that are set, as a dataclass. Fields that it lacks are left out."""
    return kind(**values_of(message, hints_of(kind)))


def values_of(message: Message, hints: Hints) -> dict[str, Any]:
    """The fields that are set, as Python values; only those with a type in `hints`."""
    return {f.name: _value(value, hints[f.name]) for f, value in message.ListFields() if f.name in hints}


def _add(name: str, hints: Hints, sections: dict[str, list[str]]) -> None:
    sections[name] = members = []
    for number, (field, hint) in enumerate(hints.items(), start=1):
        inner, repeated = _plain(hint)
        members.append(f"{number} {field} {_type(name, field, inner, sections)}{' repeated' if repeated else ''}")


def _type(message: str, field: str, hint: object, sections: dict[str, list[str]]) -> str:
    if get_origin(hint) is Annotated:
        return str(get_args(hint)[1])
    if isinstance(hint, Choice):
        name = f"{message}_{field}"
        sections[f"{name} enum"] = [f"{number} {label}" for number, label in enumerate(hint.labels)]
        return name
    if isinstance(hint, str):
        return hint
    assert isinstance(hint, type)
    if is_dataclass(hint):
        if hint.__name__ not in sections:
            _add(hint.__name__, hints_of(hint), sections)
        return hint.__name__
    return _SCALARS[hint]


def _plain(hint: object) -> tuple[object, bool]:
    """The type without None, and of a tuple that of its elements; whether there may be several."""
    if isinstance(hint, Many):
        return hint.message, True
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (part for part in get_args(hint) if part is not types.NoneType)
    repeated = get_origin(hint) is tuple
    inner = get_args(hint)[0] if repeated else hint
    return Choice(get_args(inner)) if get_origin(inner) is Literal else inner, repeated


def _value(value: object, hint: object) -> object:
    inner, repeated = _plain(hint)
    if repeated:
        assert isinstance(value, Sequence)
        return tuple(_single(one, inner) for one in value)
    return _single(value, inner)


def _single(value: object, hint: object) -> object:
    if isinstance(hint, Choice):
        assert isinstance(value, int)
        return hint.labels[value]
    if isinstance(value, Message) and isinstance(hint, type):
        return record_of(value, hint)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value
