"""Reads the text of a module with one kernel."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Instruction:
    """opcode: with all its modifiers; guard: the register of its predicate, with a leading "!" if it is negated."""

    opcode: str
    operands: tuple[str, ...]
    guard: str | None

    @cached_property
    def parts(self) -> list[str]:
        return self.opcode.split(".")


@dataclass(frozen=True)
class Kernel:
    """labels: numbers of instructions. tables: labels that branches choose from. shared: static arrays by name, in
    bytes; constants: global arrays by name. undefined: registers that nothing writes, for halves that nothing needs.
    """

    name: str
    parameters: tuple[str, ...]
    instructions: tuple[Instruction, ...]
    labels: dict[str, int]
    tables: dict[str, tuple[str, ...]]
    shared: dict[str, int]
    constants: dict[str, bytes]
    dynamic: tuple[str, ...]
    undefined: frozenset[str]


_TABLE = re.compile(r"(\$\w+):\s*\.branchtargets\s+([^;]*);")
_ARRAY = re.compile(r"\.(b8|b32|b64|u64) ([\w$]+)\[(\d+)\](?: = \{([^}]*)\})?;")


def parse(text: str) -> Kernel:
    """The kernel of a module."""
    text = re.sub(r"//[^\n]*", "", text)
    head, _, rest = text.partition(".entry ")
    name, parameters = rest[: rest.index("(")], re.findall(r"\.param \.\w+ .*?(\w+_param_\d+)", rest)
    body = rest[rest.index("\n{") + 2 : rest.rindex("}")]
    shared, constants, dynamic = {}, {}, []
    for line in [*head.splitlines(), *body.splitlines()]:
        if re.search(r"\.extern \.shared", line):
            dynamic.append(re.search(r" ([\w$]+)\[\];", line)[1])
        elif (found := _ARRAY.search(line)) and ".shared" in line:
            shared[found[2]] = int(found[3]) * _width(found[1])
        elif found and (".global" in line or ".const" in line):
            numbers = [int(n) for n in found[4].split(",")] if found[4] else []
            width = _width(found[1])
            content = b"".join((n & (1 << 8 * width) - 1).to_bytes(width, "little") for n in numbers)
            constants[found[2]] = content.ljust(int(found[3]) * width, b"\0")
    tables = {name: tuple(re.findall(r"\$\w+", targets)) for name, targets in _TABLE.findall(body)}
    statements, labels = _statements(_TABLE.sub("", body))
    _require_bits(statements)
    return Kernel(
        name, tuple(dict.fromkeys(parameters)), statements, labels, tables, shared, constants, tuple(dynamic),
        _undefined(statements),
    )  # fmt: skip


def _width(kind: str) -> int:
    return int(kind[1:]) // 8


def _statements(body: str) -> tuple[tuple[Instruction, ...], dict[str, int]]:
    found: list[Instruction] = []
    labels: dict[str, int] = {}
    for part in re.split(r"(?<=[;:])\s|\n(?=\s*\$)", body):
        line = " ".join(part.split())
        if line.endswith(":"):
            labels[line[:-1]] = len(found)
        elif line and not line.startswith("."):
            found.append(_instruction(line.rstrip(";").strip()))
    return tuple(found), labels


def _undefined(statements: Sequence[Instruction]) -> frozenset[str]:
    """Registers that stand only where two halves become a register of 64 bits."""
    packed: set[str] = set()
    others: set[str] = set()
    for statement in statements:
        for number, operand in enumerate(statement.operands):
            is_packed = statement.parts[0] == "mov" and number == 1 and operand.startswith("{")
            (packed if is_packed else others).update(re.findall(r"%\w+", operand))
    return frozenset(packed - others)


def _require_bits(statements: Sequence[Instruction]) -> None:
    """Raises ValueError where a part of a float is stored: ptxas converts the float to an integer there."""
    floats = {it.operands[0] for it in statements if it.parts[-1] == "f32" and it.parts[0] not in ("ld", "mov", "st")}
    for it in statements:
        if it.parts[0] == "st" and it.parts[-1] in ("b8", "b16", "u8", "u16"):
            found = floats.intersection(re.findall(r"%r\d+", it.operands[1]))
            if found:
                raise ValueError(f"{it.opcode} stores a part of the float {found.pop()}, which ptxas would convert")


def _instruction(line: str) -> Instruction:
    guard = None
    if line.startswith("@"):
        guard, line = line[1:].split(" ", 1)
    opcode, _, rest = line.partition(" ")
    operands = re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s][^,]*", rest)
    return Instruction(opcode, tuple(operand.strip() for operand in operands), guard)
