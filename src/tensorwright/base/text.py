"""Text that came from elsewhere, made fit to be shown, and names that are still free."""

from __future__ import annotations

from collections.abc import Container


def printable(text: str) -> str:
    r"""The text with what a terminal would obey, hide or reorder spelled as escapes, such as ``\x1b`` and ``\u202e``.

    That is all that Unicode counts as control, formatting, surrogate, private or unassigned, and every separator but
    the space. The result is one line.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def printable_lines(text: str) -> str:
    """The same for text of several lines, which stay apart."""
    return "\n".join(map(printable, text.split("\n")))


def format_bytes(count: int) -> str:
    """A number of bytes in the unit that fits."""
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{count} B" if unit == "B" else f"{size:.2f} {unit}"


def unused_name(name: str, taken: Container[str]) -> str:
    """A name, with a number behind it if it is taken."""
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    return found
