"""Protocol buffers in text form: errors with their place, unknown fields tolerated and reported, nesting bounded."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf import text_format

from tensorwright.base.errors import ImportFailure
from tensorwright.importers.protobuf import AnyMessage

if TYPE_CHECKING:
    from google._upb._message import Descriptor as NativeDescriptor
    from google.protobuf.descriptor import Descriptor as PythonDescriptor

    Descriptor = PythonDescriptor | NativeDescriptor

LARGEST_TEXT = 1 << 21
"""Bytes of the longest text that is parsed: seconds of work at worst. Definitions of networks have a tenth of that."""
LONGEST_LINE = 1 << 16
"""Characters of the longest line that is parsed: the parser copies the line for each field that it does not know."""


@dataclass(frozen=True)
class Limits:
    """Bytes of a text and characters of a line that are parsed at most."""

    text: int = LARGEST_TEXT
    line: int = LONGEST_LINE


USUAL = Limits()
DEEPEST = 64
"""Messages in messages."""
LONGEST_REASON = 200
"""Characters of the parser's own message, which quotes the text."""

_TOKEN = re.compile(
    r"""
    (?P<skip> \# [^\n]* | [^\S\n]+ )
  | (?P<newline> \n )
  | (?P<string> " [^"\\\n]* (?: \\. [^"\\\n]* )* "? | ' [^'\\\n]* (?: \\. [^'\\\n]* )* '? )
  | (?P<word> [\w.+-]+ )
  | (?P<mark> . )
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class UnknownField:
    """A field that the description of its message lacks."""

    line: int
    message: str
    name: str


def parse_text(
    kind: type[AnyMessage],
    data: bytes | str,
    label: str,
    what: str,
    without_effect: Mapping[str, frozenset[str]] | None = None,
    limits: Limits = USUAL,
) -> tuple[AnyMessage, tuple[UnknownField, ...]]:
    """The message in a text, and the fields in it that are not known.

    Args:
        kind: the class of the message.
        data: the text; bytes are read as UTF-8, what is not UTF-8 (in comments) as anything.
        label: where it comes from, as messages call it.
        what: what it should be ("a Caffe network definition").
        without_effect: fields by message that are accepted without being described.
        limits: how much is parsed at most.

    Raises:
        ImportFailure: it is not such a message; the error says in which line.
    """
    if len(data) > limits.text:
        raise ImportFailure(f"{label}: expected {what} of at most {limits.text} bytes, found {len(data)}")
    if isinstance(data, bytes) and b"\0" in data:
        raise ImportFailure(f"{label}: expected {what}, a text, found binary data; is it the file with the weights?")
    text = data if isinstance(data, str) else data.decode("utf-8-sig", errors="replace")
    longest = max(map(len, text.split("\n")))
    if longest > limits.line:
        raise ImportFailure(f"{label}: expected {what} of lines up to {limits.line} characters, found one of {longest}")
    unknown = tuple(_unknown_fields(text, kind.DESCRIPTOR, label, without_effect or {}))
    message = kind()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Of escapes in strings that Python would not write.
            text_format.Parse(text, message, allow_unknown_field=True)
    except text_format.ParseError as error:
        place = "" if error.GetLine() is None else f" line {error.GetLine()}, column {error.GetColumn()}:"
        reason = re.sub(r"^\d+:\d+ : ", "", str(error))
        raise ImportFailure(f"{label}:{place} not {what}, or damaged: {_short(reason)}") from None
    except (ValueError, OverflowError, RecursionError) as error:
        raise ImportFailure(f"{label}: not {what}, or damaged: {_short(str(error))}") from None
    return message, unknown


Plain = dict[str, object]


def plain_fields(text: bytes | str) -> Plain:
    """What a text says, without a description: values by field; those of a field that occurs several times as a list.

    Messages are mappings, words numbers or True and False where they look like them, else strings. The text has to be
    one that `parse_text` accepts.
    """
    decoded = text if isinstance(text, str) else text.decode("utf-8-sig", errors="replace")
    levels: list[Plain] = [{}]
    names, in_list = [""], [False]
    for _, kind, part in _tokens(decoded):
        if part in ("{", "<"):
            inner: Plain = {}
            _put(levels[-1], names[-1], inner)
            names[-1] = names[-1] if in_list[-1] else ""
            levels.append(inner)
            names.append("")
            in_list.append(False)
        elif part in ("}", ">"):
            if len(levels) > 1:
                levels, names, in_list = levels[:-1], names[:-1], in_list[:-1]
        elif part in ("[", "]"):
            in_list[-1] = part == "["
            names[-1] = names[-1] if in_list[-1] else ""
        elif kind == "word" and not names[-1]:
            names[-1] = part
        elif kind in ("word", "string") and names[-1]:
            _put(levels[-1], names[-1], part[1:-1] if kind == "string" else _plain(part))
            names[-1] = names[-1] if in_list[-1] else ""
    return levels[0]


def _put(message: Plain, name: str, value: object) -> None:
    found = message.get(name)
    if name not in message:
        message[name] = value
    elif isinstance(found, list):
        found.append(value)
    else:
        message[name] = [found, value]


def _plain(word: str) -> object:
    if word in ("true", "false"):
        return word == "true"
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


@dataclass
class _Level:
    """A message that is open while the text is followed; what is wrong otherwise is left for the parser to report."""

    message: Descriptor | None
    inside: Descriptor | None = None
    """What the next opening brace opens."""
    is_value: bool = False
    lists: int = 0

    def take(self, kind: str, part: str) -> str | None:
        """Go on by one part; the name of a field where one starts."""
        if part == "[":
            self.lists += 1
        elif part == "]":
            self.lists, self.is_value = max(0, self.lists - 1), False
        elif part == ":":
            self.is_value = True
        elif kind == "word" and not self.is_value and not self.lists:
            field = None if self.message is None else self.message.fields_by_name.get(part)
            self.inside = None if field is None else field.message_type
            return part
        elif kind != "mark":
            self.is_value = self.is_value and self.lists > 0
        return None


def _unknown_fields(
    text: str, root: Descriptor, label: str, without_effect: Mapping[str, frozenset[str]]
) -> Iterator[UnknownField]:
    levels = [_Level(root)]
    for line, kind, part in _tokens(text):
        level = levels[-1]
        if part in ("{", "<"):
            level.is_value = False
            levels.append(_Level(level.inside))
            if len(levels) > DEEPEST:
                raise ImportFailure(f"{label}: line {line}: messages are nested more than {DEEPEST} deep")
        elif part in ("}", ">"):
            levels = levels[:-1] or levels
        else:
            name, message = level.take(kind, part), level.message
            if name is None or message is None or name in message.fields_by_name:
                continue
            if name not in without_effect.get(message.name, ()):
                yield UnknownField(line, message.name, name)


def _tokens(text: str) -> Iterator[tuple[int, str, str]]:
    line = 1
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind == "newline":
            line += 1
        elif kind != "skip":
            yield line, kind, match.group()


def _short(reason: str) -> str:
    return (
        reason
        if len(reason) <= LONGEST_REASON
        else f"{reason[: LONGEST_REASON // 2]} ... {reason[-LONGEST_REASON // 2 :]}"
    )
