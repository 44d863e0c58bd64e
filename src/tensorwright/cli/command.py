"""What all commands share: errors in one line, and options in users' spelling."""

from __future__ import annotations

import functools
import inspect
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from tensorwright.base.errors import TensorwrightError
from tensorwright.base.text import printable_lines

Entry = int | tuple[int, int, int]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of errors.")]

INTERRUPTED = 130
"""The exit code of shells for what an interrupt ended."""

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class UsageError(TensorwrightError):
    """An option is wrong."""


def reported(function: Callable[..., None]) -> Callable[..., None]:
    """The command with an option --debug, without which errors are one line on standard error and exit code 1."""

    @functools.wraps(function)
    def command(*args: object, debug: bool, **options: object) -> None:
        _print_what_can_be()
        try:
            function(*args, **options)
        except typer.Exit:
            raise
        except KeyboardInterrupt as interrupt:
            notes = getattr(interrupt, "__notes__", [])
            Console(stderr=True, soft_wrap=True).print("; ".join(["cancelled", *notes]), highlight=False)
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            if debug:
                raise
            text = f"[bold red]error:[/] {shown(_message(error))}"
            Console(stderr=True, soft_wrap=True).print(text, highlight=False)
            raise typer.Exit(1) from None

    parameter = inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Debug)
    signature = inspect.signature(function, eval_str=True)
    command.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), parameter]
    )
    command.__annotations__ = {**inspect.get_annotations(function, eval_str=True), "debug": Debug}
    return command


def _print_what_can_be() -> None:
    """Not every terminal has × and names in all scripts: print a question mark there."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def shown(text: object) -> str:
    """Text from a model or a plan as rich may print it: without markup, and nothing that a terminal obeys."""
    return escape(printable_lines(str(text)))


def size(text: str | None) -> int | None:
    """Bytes, from a number with K, M or G for powers of 1024; None from nothing."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)\s*([KMG]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise UsageError(f"size '{text}': expected a number of bytes, with K, M or G for powers of 1024, such as 64M")
    return int(match[1]) * _UNITS[match[2].upper()]


def named(text: str) -> tuple[str, str]:
    """Both sides of the last equals sign."""
    name, equals, value = text.rpartition("=")
    if not equals or not name or not value:
        raise UsageError(f"'{text}': expected NAME=VALUE")
    return name, value


def pairs(text: str) -> list[tuple[str, str]]:
    """``NAME=VALUE``, or all that a file of JSON says: ``@FILE``."""
    if not text.startswith("@"):
        return [named(text)]
    path = Path(text[1:])
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise UsageError(f"{path}: expected JSON, an object with texts by names: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise UsageError(f"{path}: expected JSON, an object with texts by names, found {str(found)[:80]}")
    return list(found.items())


def number(text: str) -> tuple[str, float | bool]:
    """A name and a number or a truth value: ``keep_prob=1.0``, ``is_training=false``."""
    name, value = named(text)
    if value.lower() in ("true", "false"):
        return name, value.lower() == "true"
    try:
        return name, int(value) if value.lstrip("-").isdigit() else float(value)
    except ValueError:
        raise UsageError(f"constant '{text}': expected NAME=VALUE with a number, true or false") from None


def numbers(text: str) -> tuple[float, ...]:
    """Numbers with commas between them: ``123.7,116.3,103.5``."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"'{text}': expected numbers with commas between them, such as 123.7,116.3,103.5") from None


def entries(text: str) -> tuple[str, tuple[Entry, ...]]:
    """A name and its extents: ``x=1,3,224,224`` or ``x=1x3x224x224``; ``1:8:32`` is min, opt and max."""
    name, value = named(text)
    found = [_entry(part) for part in re.split(r"[x×,]", value)]
    if any(entry is None for entry in found):
        raise UsageError(
            f"shape '{text}': expected NAME=D1xD2x..., each an integer or MIN:OPT:MAX, such as x=1:8:32x3x224x224"
        )
    return name, tuple(entry for entry in found if entry is not None)


def ranges(text: str) -> dict[str, tuple[int, int, int] | int]:
    """Sizes of dimensions by name, one or MIN:OPT:MAX: ``batch=1`` or ``batch=2:8:32,sequence=128``."""
    found: dict[str, tuple[int, int, int] | int] = {}
    for part in text.split(","):
        name, value = named(part)
        try:
            sizes = [int(size) for size in value.split(":")]
        except ValueError:
            sizes = []
        if len(sizes) not in (1, 3):
            raise UsageError(
                f"profile '{text}': expected NAME=D or NAME=MIN:OPT:MAX with commas between them, such as "
                "batch=2:8:32,sequence=128"
            )
        found[name] = sizes[0] if len(sizes) == 1 else (sizes[0], sizes[1], sizes[2])
    return found


def _entry(text: str) -> Entry | None:
    parts = text.strip().split(":")
    if parts == ["-1"]:
        return -1
    if not all(part.isdigit() for part in parts) or len(parts) not in (1, 3):
        return None
    numbers = [int(part) for part in parts]
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1], numbers[2])


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, TensorwrightError | OSError):
        return str(error)
    return f"this should not happen: {type(error).__name__}: {error}; --debug shows where, please report it"
