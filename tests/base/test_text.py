"""Names from elsewhere never reach a terminal as they are."""

from __future__ import annotations

import traceback

import pytest

from tensorwright.base.errors import ImportFailure
from tensorwright.base.text import format_bytes, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("conv1/weights:0 × 3", "conv1/weights:0 × 3"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("a\nb\r\tc\x7f", r"a\nb\r\tc\x7f"),
        ("\x9b31m", r"\x9b31m"),
        ("left\u202eright\u2066\u200b", r"left\u202eright\u2066\u200b"),
        ("line\u2028paragraph\u2029", r"line\u2028paragraph\u2029"),
        ("half \ud800 of a pair, private \ue000", r"half \ud800 of a pair, private \ue000"),
        ("größe 層", "größe 層"),
    ],
)
def test_what_a_terminal_would_obey_is_spelled_out(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(text).isprintable()


def test_errors_show_names_as_text() -> None:
    error = ImportFailure("node 'a\x1b[2J'\nnode 'b'")
    assert str(error) == "node 'a\\x1b[2J'\nnode 'b'"
    assert "\x1b" not in "".join(traceback.format_exception(error))


def test_bytes_have_the_unit_that_fits() -> None:
    assert [format_bytes(n) for n in (0, 1023, 1024, 3 << 20, 5 << 30)] == [
        "0 B",
        "1023 B",
        "1.00 KiB",
        "3.00 MiB",
        "5.00 GiB",
    ]
