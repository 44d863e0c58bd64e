"""Protocol buffers without generated code: message classes are made at run time from a description.

A description lists messages and enums, each followed by its members, one a line::

    NetParameter
        1 name string
        3 input string repeated
        4 weights float packed
        5 attr map<AttrValue>
        6 count int64 in value
        7 text string in value
        8 phase Phase
    Phase enum
        0 TRAIN
        1 TEST

A member is its number, its name, its type (a scalar type of protocol buffers, or the name of a message or an enum of
the description) and how often it occurs. ``map<T>`` maps strings to T; members ``in`` the same name exclude each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeVar

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from tensorwright.base.errors import ImportFailure
from tensorwright.importers.files import LARGEST_FILE, refuse_strangers

Syntax = Literal["proto2", "proto3"]
AnyMessage = TypeVar("AnyMessage", bound=Message)

_SCALARS = {
    name: number
    for name, number in FieldDescriptorProto.Type.items()
    if name not in ("TYPE_MESSAGE", "TYPE_ENUM", "TYPE_GROUP")
}


def message_classes(package: str, description: str, *, syntax: Syntax = "proto2") -> Mapping[str, type[Message]]:
    """The classes of all messages of a description, by name.

    Args:
        package: a name for the description; it occurs in messages of the protobuf library.
        description: see the module.
        syntax: with proto3, numbers and strings that were not set cannot be told from zeros and empty ones, enums may
            hold values that they do not list, and repeated numbers are packed.
    """
    file = FileDescriptorProto(name=f"{package}.description", package=package, syntax=syntax)
    sections = _sections(description)
    enums = {name for name, (kind, _) in sections.items() if kind == "enum"}
    for name, (kind, members) in sections.items():
        if kind == "enum":
            _add_enum(file.message_type.add(name=_scope(name)), name, members)
        else:
            _add_message(file.message_type.add(name=name), package, members, enums)
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    found = {
        name: GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name, (kind, _) in sections.items()
        if kind == "message"
    }
    return MappingProxyType(found)


def parse_bytes(kind: type[AnyMessage], data: bytes, label: str, what: str) -> AnyMessage:
    """The message in some bytes.

    Args:
        kind: the class of the message.
        data: the bytes.
        label: where they come from, as messages call it.
        what: what they should be ("a Caffe model").

    Raises:
        ImportFailure: they are not such a message, or damaged.
    """
    if not data:
        raise ImportFailure(f"{label}: empty; expected {what}")
    if len(data) > LARGEST_FILE:
        raise ImportFailure(f"{label}: expected {what} of at most {LARGEST_FILE} bytes, found {len(data)}")
    refuse_strangers(data, label, what)
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise ImportFailure(
            f"{label}: not {what}, or damaged or truncated: {len(data)} bytes that do not parse as a protobuf message "
            f"({error}); copy or export the file again"
        ) from None


def _sections(description: str) -> dict[str, tuple[str, list[list[str]]]]:
    """Kind and members, split into words, of everything that is described."""
    sections: dict[str, tuple[str, list[list[str]]]] = {}
    members: list[list[str]] = []
    for line in description.splitlines():
        words = line.split()
        if not words:
            continue
        if words[0].isdigit():
            members.append(words)
        else:
            members = []
            sections[words[0]] = ("enum" if words[1:] == ["enum"] else "message", members)
    return sections


def _scope(enum: str) -> str:
    """The message around an enum, which keeps its labels apart from those of other enums."""
    return f"{enum}Labels"


def _add_enum(scope: DescriptorProto, name: str, members: list[list[str]]) -> None:
    enum = scope.enum_type.add(name=name)
    for number, label in members:
        enum.value.add(name=label, number=int(number))


def _add_message(message: DescriptorProto, package: str, members: list[list[str]], enums: set[str]) -> None:
    for number, name, type, *how in members:
        field = message.field.add(name=name, number=int(number), label=FieldDescriptorProto.LABEL_OPTIONAL)
        if type.startswith("map<"):
            entry = message.nested_type.add(name=_entry(name))
            entry.options.map_entry = True
            _add_message(entry, package, [["1", "key", "string"], ["2", "value", type[4:-1]]], enums)
            field.label = FieldDescriptorProto.LABEL_REPEATED
            _set_type(field, f"{package}.{message.name}", _entry(name), set())
            continue
        _set_type(field, package, type, enums)
        match how:
            case ["repeated" | "packed" as many]:
                field.label = FieldDescriptorProto.LABEL_REPEATED
                if many == "packed":
                    field.options.packed = True
            case ["in", group]:
                known = [oneof.name for oneof in message.oneof_decl]
                if group not in known:
                    message.oneof_decl.add(name=group)
                field.oneof_index = known.index(group) if group in known else len(known)


def _entry(field: str) -> str:
    return "".join(part.capitalize() for part in field.split("_")) + "Entry"


def _set_type(field: FieldDescriptorProto, scope: str, type: str, enums: set[str]) -> None:
    scalar = _SCALARS.get(f"TYPE_{type.upper()}")
    if scalar is not None:
        field.type = scalar
    elif type in enums:
        field.type, field.type_name = FieldDescriptorProto.TYPE_ENUM, f".{scope}.{_scope(type)}.{type}"
    else:
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{scope}.{type}"
