"""The instructions of AMX on eight tile registers of up to 16 rows of 64 bytes (Intel, "Architecture Instruction Set
Extensions Programming Reference", chapter 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.values import Pointer, Register, i64, literals
from tensorwright.tensor.dtype import UINT8

REGISTERS = 8
ROWS = 16
ROW_BYTES = 64
TILE_BYTES = ROWS * ROW_BYTES
CONFIGURATION_BYTES = 64

_PALETTE = 1
_FIRST_WIDTH, _FIRST_HEIGHT = 16, 48


@dataclass(frozen=True)
class TileRegisters:
    """Writes instructions on tile registers, which are numbered."""

    builder: FunctionBuilder

    def configure(self, place: Pointer, heights: Sequence[Register | int]) -> None:
        """Set how many rows every register has, of 64 bytes each, by a table that is written to `place`. All become
        zero.
        """
        table = [0] * CONFIGURATION_BYTES
        table[0] = _PALETTE
        for number, height in enumerate(heights):
            table[_FIRST_WIDTH + 2 * number] = ROW_BYTES
            table[_FIRST_HEIGHT + number] = height if isinstance(height, int) else 0
        builder = self.builder
        builder.store(literals(table, UINT8), place, UINT8)
        for number, height in enumerate(heights):
            if isinstance(height, Register):
                narrow = builder.convert("trunc", height, UINT8)
                builder.store(narrow, builder.offset(place, _FIRST_HEIGHT + number, UINT8), UINT8)
        self._call("ldtilecfg", f"ptr {place.text}")

    def zero(self, tile: int) -> None:
        self._call("tilezero", _number(tile))

    def load(self, tile: int, place: Pointer, step: Register | int) -> None:
        """The rows of a register, `step` bytes from one to the next."""
        self._call("tileloadd64", f"{_number(tile)}, ptr {place.text}, {_step(step)}")

    def store(self, tile: int, place: Pointer, step: Register | int) -> None:
        self._call("tilestored64", f"{_number(tile)}, ptr {place.text}, {_step(step)}")

    def multiply(self, instruction: str, total: int, left: int, right: int) -> None:
        """Add the product of two registers to a third one."""
        self._call(instruction, ", ".join(map(_number, (total, left, right))))

    def release(self) -> None:
        """Give all registers back, so that the system need not keep their state."""
        self._call("tilerelease", "")

    def _call(self, name: str, arguments: str) -> None:
        types = [argument.split()[0] for argument in arguments.split(", ") if argument]
        self.builder.declare(
            f"declare void @llvm.x86.{name}({', '.join('i8 immarg' if t == 'i8' else t for t in types)})"
        )
        self.builder.emit(f"call void @llvm.x86.{name}({arguments})")


def _number(tile: int) -> str:
    return f"i8 {tile}"


def _step(step: Register | int) -> str:
    return i64(step).typed
