"""Messages made at run time from a description, and their text form."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorwright.base.errors import ImportFailure
from tensorwright.importers.files import read_bytes
from tensorwright.importers.protobuf import message_classes, parse_bytes
from tensorwright.importers.prototext import parse_text

DESCRIPTION = """
Net
    1 name string
    2 node Node repeated
    3 weights float packed
    4 attr map<Value>
    9 big fixed64
Node
    1 name string
    2 inner Node
    3 mode Mode
    4 other Level
Value
    1 i int64 in value
    2 s bytes in value
    3 list Node repeated
Mode enum
    0 OFF
    1 ON
Level enum
    0 LOW
    1 ON
"""


@pytest.fixture
def classes():
    return message_classes("test", DESCRIPTION)


def test_bytes_are_those_of_the_format(classes):
    net = classes["Net"](name="n", weights=[1.0, 0.5])
    net.node.add(name="a", mode=1).inner.name = "b"
    net.attr["k"].i = 3
    assert net.SerializeToString() == b"".join(
        (
            b"\x0a\x01n",
            b"\x12\x0a\x0a\x01a\x12\x03\x0a\x01b\x18\x01",
            b"\x1a\x08\x00\x00\x80?\x00\x00\x00?",
            b"\x22\x07\x0a\x01k\x12\x02\x08\x03",
        )
    )
    again = parse_bytes(classes["Net"], net.SerializeToString(), "file", "a net")
    assert again == net
    assert again.attr["k"].WhichOneof("value") == "i"


def test_a_description_may_be_made_twice_and_in_either_syntax(classes):
    assert message_classes("test", DESCRIPTION)["Net"] is not classes["Net"]
    third = message_classes("test", DESCRIPTION, syntax="proto3")["Node"]()
    third.mode = 7
    assert third.FromString(third.SerializeToString()).mode == 7


def test_text(classes):
    text = """# A comment { with " marks
    name: 'n' node { name: "a" mode: ON } node < inner { } >; weights: [1, -2e-1]
    attr { key: "k" value { i: 7 } }"""
    net, unknown = parse_text(classes["Net"], text, "file", "a net")
    assert not unknown
    assert [node.name for node in net.node] == ["a", ""]
    assert net.attr["k"].i == 7


def test_unknown_fields_are_told_with_line_and_message(classes):
    text = """nome: "x"
    node { mode: ON extra { mode: 3 deep: [ { x: 1 }, { y: 2 } ] } last: -inf, }
    node: [ { a: "1" 'more' }, { name: "ok" b: [1, 2] } ] attr { key: "k" value { list { c: OFF } } }"""
    _, unknown = parse_text(classes["Net"], text.encode(), "file", "a net", {"Node": frozenset({"last"})})
    assert [(field.line, field.message, field.name) for field in unknown] == [
        (1, "Net", "nome"),
        (2, "Node", "extra"),
        (3, "Node", "a"),
        (3, "Node", "b"),
        (3, "Node", "c"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("node {", r"^file: line 1, column 6: not a net, or damaged"),
        ("\n\nname: 3", r"^file: line 3, column \d+: .*Expected string"),
        ("node { mode: SLEEPING }", "no value named SLEEPING"),
        ("node { inner { " * 40, "line 1: messages are nested more than 64 deep"),
        ("name: 'a'\nname: 'b'", "line 2.*should not have multiple"),
        (b"\x0a\x00", "found binary data"),
        ("x" * (1 << 21) + "y", "of at most 2097152 bytes, found 2097153"),
        ("x" * 70000, "of lines up to 65536 characters"),
        ("big: " + "9" * 5000, "not a net"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_text_that_is_wrong(classes, text, message: str):
    with pytest.raises(ImportFailure, match=message) as caught:
        parse_text(classes["Net"], text, "file", "a net")
    assert len(str(caught.value)) < 500


def test_files(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"abc")
    assert read_bytes(tmp_path / "file", "a net") == b"abc"
    for path, largest, message in (
        (tmp_path / "file", 2, "of at most 2 bytes, found 3"),
        (tmp_path, 9, "found a folder; give the file"),
        (tmp_path / "none", 9, "cannot be read .No such file.*; expected a net"),
        ("a\0b", 9, "cannot be read"),
    ):
        with pytest.raises(ImportFailure, match=message):
            read_bytes(path, "a net", largest)


@given(st.binary(max_size=60))
def test_any_bytes(data: bytes):
    classes = message_classes("test", DESCRIPTION)
    try:
        parse_bytes(classes["Net"], data, "file", "a net")
    except ImportFailure as error:
        texts = ("empty", "not a net, or damaged", "expected a net, found ")
        assert any(text in str(error) for text in texts)  # noqa: PT017


@given(st.text(alphabet="ab {}<>[]:;,#'\"\\\n01-.node", max_size=60))
def test_any_text(text: str):
    classes = message_classes("test", DESCRIPTION)
    try:
        parse_text(classes["Net"], text, "file", "a net")
    except ImportFailure as error:
        assert str(error).startswith("file: ")  # noqa: PT017
