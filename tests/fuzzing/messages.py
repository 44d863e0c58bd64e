"""Changes protocol buffers where their descriptions allow it: what comes out is a message, of strange content."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message import Message

INTEGERS = (-1, 0, 1, 2, 3, 5, 64, 1 << 16, 1 << 31, (1 << 31) - 1, -(1 << 31), 1 << 40, (1 << 63) - 1, -(1 << 63))
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-38, 3e38, float("inf"), float("-inf"), float("nan"))
TEXTS = ("", "x", "\0", "é\x1b[31m", "a" * 300, "..", "NOTSET", "-1")
WIDTHS = {Field.CPPTYPE_INT32: (31, True), Field.CPPTYPE_INT64: (63, True), Field.CPPTYPE_UINT32: (32, False),
          Field.CPPTYPE_UINT64: (64, False)}  # fmt: skip
MOST_PLACES = 20_000
T = TypeVar("T")
Words = Mapping[str, Sequence[str]]
"""Texts that are worth trying, by the names of message and member: ``NodeProto.op_type``."""


@dataclass(frozen=True)
class Place:
    """A member of a message inside of another."""

    message: Message
    field: Field

    @property
    def name(self) -> str:
        return f"{self.message.DESCRIPTOR.name}.{self.field.name}"

    @property
    def is_map(self) -> bool:
        kind = self.field.message_type
        return kind is not None and bool(kind.GetOptions().map_entry)

    @property
    def value(self) -> object:
        return getattr(self.message, self.field.name)


def places(message: Message) -> list[Place]:
    """The members of a message and of all messages in it, whether they are set or not."""
    found: list[Place] = []
    pending = [message]
    while pending and len(found) < MOST_PLACES:
        current = pending.pop()
        found += [Place(current, field) for field in current.DESCRIPTOR.fields]
        pending += inner(current)
    return found


def inner(message: Message) -> Iterator[Message]:
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if Place(message, field).is_map:
            items = (value[key] for key in sorted(value, key=str))  # As they come, it is by chance.
            yield from (item for item in items if isinstance(item, Message))
        elif field.is_repeated:
            yield from value
        else:
            yield value


def is_set(place: Place) -> bool:
    return any(field is place.field or field.number == place.field.number for field, _ in place.message.ListFields())


def change(message: Message, donor: Message, rng: np.random.Generator, words: Words) -> None:
    """Change something in a message, perhaps to what another message of its kind has there."""
    found = places(message)
    usual = [place for place in found if is_set(place)]
    chosen = _one(rng, usual if usual and rng.random() < 0.85 else found)
    given = [p for p in places(donor) if p.name == chosen.name and is_set(p)]
    other = _one(rng, given) if given else None
    if chosen.is_map:
        _change_map(chosen, other, rng)
    elif chosen.field.is_repeated:
        _change_list(chosen, other, rng, words)
    else:
        _change_one(chosen, other, rng, words)


def _change_map(place: Place, other: Place | None, rng: np.random.Generator) -> None:
    entries = place.value
    keys = sorted(entries, key=str)
    if keys and rng.random() < 0.4:
        del entries[_one(rng, keys)]
        return
    source = other.value if other is not None and rng.random() < 0.7 else entries
    if not source:
        return
    value = source[_one(rng, sorted(source, key=str))]
    key = _one(rng, [*keys, *sorted(source, key=str), "strange"])
    if isinstance(value, Message):
        entries[key].CopyFrom(_copy(value))
    else:
        entries[key] = value


def _change_list(place: Place, other: Place | None, rng: np.random.Generator, words: Words) -> None:
    items = place.value
    how = rng.integers(6)
    if how == 0 and len(items):
        del items[int(rng.integers(len(items)))]
    elif how == 1 and len(items):
        kept = list(items) if place.field.message_type is None else [_copy(item) for item in items]
        order = rng.permutation(len(kept))
        del items[:]
        items.extend(kept[n] for n in order)
    elif how == 2 and other is not None:
        items.extend([_one(rng, list(other.value))] * int(rng.integers(1, 3)))
    elif how == 3 and rng.random() < 0.3:
        del items[:]
    elif place.field.message_type is not None:
        items.add().CopyFrom(_copy(_one(rng, list(items)))) if len(items) else items.add()
    elif len(items) and rng.random() < 0.8:
        at = int(rng.integers(len(items)))
        items[at] = _scalar(place, items[at], rng, words)
    else:
        items.append(_scalar(place, items[-1] if len(items) else None, rng, words))


def _change_one(place: Place, other: Place | None, rng: np.random.Generator, words: Words) -> None:
    if rng.random() < 0.15:
        place.message.ClearField(place.field.name)
    elif place.field.message_type is not None:
        if other is not None:
            place.value.CopyFrom(_copy(other.value))
        else:
            place.value.SetInParent()
    elif other is not None and rng.random() < 0.3:
        setattr(place.message, place.field.name, other.value)
    else:
        setattr(place.message, place.field.name, _scalar(place, place.value, rng, words))


def _copy(message: Message) -> Message:
    made = type(message)()
    made.CopyFrom(message)
    return made


def _scalar(place: Place, value: object, rng: np.random.Generator, words: Words) -> object:
    field = place.field
    if field.type == Field.TYPE_BYTES:
        return changed_bytes(bytes(value or b""), rng)
    if field.cpp_type in WIDTHS:
        return _integer(field.cpp_type, int(str(value or 0)), rng)
    match field.cpp_type:
        case Field.CPPTYPE_ENUM:
            return _one(rng, field.enum_type.values).number
        case Field.CPPTYPE_BOOL:
            return not value
        case Field.CPPTYPE_STRING:
            known = words.get(place.name, ()) if rng.random() < 0.8 else TEXTS
            return _one(rng, known or TEXTS)
    return float(_one(rng, FLOATS))


def _integer(kind: int, value: int, rng: np.random.Generator) -> int:
    bits, is_signed = WIDTHS[kind]
    new = value + int(rng.integers(-2, 3)) if rng.random() < 0.4 else _one(rng, INTEGERS)
    least = -(1 << bits) if is_signed else 0
    return max(least, min(int(new), (1 << bits) - 1))


def changed_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """Bytes of which some are others, are missing or are there twice."""
    result = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(result) + 1))
        match rng.integers(4):
            case 0:
                result[at : at + 1] = rng.bytes(1)
            case 1:
                del result[at : at + int(rng.integers(1, 9))]
            case 2:
                result[at:at] = rng.bytes(int(rng.integers(1, 5)))
            case _:
                result[at:at] = result[at : at + int(rng.integers(1, 33))]
    return bytes(result)


def smaller(message: Message) -> Iterator[Message]:
    """Copies of a message that each lack something, much first."""
    for number, place in enumerate(places(message)):
        if not is_set(place):
            continue
        for take in _removals(place):
            candidate = _copy(message)
            take(places(candidate)[number])
            yield candidate


def _removals(place: Place) -> Iterator[Callable[[Place], None]]:
    yield lambda p: p.message.ClearField(p.field.name)
    if place.is_map:
        for key in sorted(place.value, key=str):
            yield lambda p, key=key: p.value.pop(key, None)
    elif place.field.is_repeated:
        count = len(place.value)
        for size in (count // 2, count // 4, 1):
            for at in range(0, count if size and count > 1 else 0, max(size, 1)):
                yield lambda p, at=at, size=size: p.value.__delitem__(slice(at, at + size))


def _one(rng: np.random.Generator, given: Sequence[T]) -> T:
    return given[int(rng.integers(len(given)))]
