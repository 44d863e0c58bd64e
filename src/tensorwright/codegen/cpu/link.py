"""Links relocatable objects into one flat, position-independent image.

The image needs no relocation when it is loaded: every reference is relative to the place it is made from. Format:
System V ABI, "ELF-64 Object File Format" and the processor supplements for x86-64 and AArch64.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tensorwright.base.errors import BuildError

_SECTION_ALLOCATED = 2
_NO_BITS = 8
_SYMBOL_TABLE, _RELOCATIONS = 2, 4
_X86_64, _AARCH64 = 62, 183
_PAGE = 4096
_CACHE_LINE = 64
"""Every section starts at a multiple of this, so that the size of one function does not shift the loops of others."""


@dataclass(frozen=True)
class _Section:
    name: str
    type: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int


@dataclass(frozen=True)
class _Symbol:
    name: str
    section: int
    value: int


@dataclass(frozen=True)
class _Object:
    data: bytes
    machine: int
    sections: Sequence[_Section]
    symbols: Sequence[_Symbol]


@dataclass(frozen=True)
class Image:
    """Linked code: bytes to be mapped at a multiple of 4096, and the offset of every function."""

    code: bytes
    functions: Mapping[str, int]


def link(objects: Sequence[bytes]) -> Image:
    """Lay out the allocated sections of all objects one after another and resolve their references.

    Raises:
        BuildError: a function is undefined or defined twice, or a reference is of a kind that needs the loader.
    """
    parsed = [_parse(data) for data in objects]
    image, placed = _lay_out(parsed)
    functions = _functions(parsed, placed)
    for number, item in enumerate(parsed):
        for section in item.sections:
            if section.type == _RELOCATIONS and (number, section.info) in placed:
                _relocate(image, item, number, section, placed, functions)
    return Image(bytes(image), functions)


def _parse(data: bytes) -> _Object:
    (machine,) = struct.unpack_from("<H", data, 18)
    (table,) = struct.unpack_from("<Q", data, 40)
    entry_size, count, names_index = struct.unpack_from("<HHH", data, 58)
    raw = [struct.unpack_from("<IIQQQQIIQQ", data, table + i * entry_size) for i in range(count)]
    names_offset = raw[names_index][4]
    sections = [
        _Section(_text(data, names_offset + r[0]), r[1], r[2], r[4], r[5], r[6], r[7], max(1, r[8])) for r in raw
    ]
    symbols: list[_Symbol] = []
    for section in sections:
        if section.type == _SYMBOL_TABLE:
            strings = sections[section.link].offset
            for position in range(section.offset, section.offset + section.size, 24):
                name, _, _, index, value, _ = struct.unpack_from("<IBBHQQ", data, position)
                symbols.append(_Symbol(_text(data, strings + name), index, value))
    return _Object(data, machine, sections, symbols)


def _text(data: bytes, offset: int) -> str:
    return data[offset : data.index(0, offset)].decode()


def _kept(section: _Section) -> bool:
    return bool(section.flags & _SECTION_ALLOCATED) and not section.name.startswith(".eh_frame")


def _lay_out(objects: Sequence[_Object]) -> tuple[bytearray, dict[tuple[int, int], int]]:
    image, placed = bytearray(), {}
    for number, item in enumerate(objects):
        for index, section in enumerate(item.sections):
            if not _kept(section):
                continue
            if section.flags & 1:
                raise BuildError(f"section {section.name} of generated code is writable; images hold constants only")
            if section.size:
                image.extend(bytes(-len(image) % max(section.alignment, _CACHE_LINE)))
            placed[number, index] = len(image)
            body = bytes(section.size) if section.type == _NO_BITS else item.data[section.offset :][: section.size]
            image.extend(body)
    return image, placed


def _functions(objects: Sequence[_Object], placed: Mapping[tuple[int, int], int]) -> dict[str, int]:
    found: dict[str, int] = {}
    for number, item in enumerate(objects):
        for symbol in item.symbols:
            if symbol.name and (number, symbol.section) in placed and not symbol.name.startswith((".L", "$")):
                if symbol.name in found:
                    raise BuildError(f"function {symbol.name} is defined twice")
                found[symbol.name] = placed[number, symbol.section] + symbol.value
    return found


def _relocate(
    image: bytearray,
    item: _Object,
    number: int,
    section: _Section,
    placed: Mapping[tuple[int, int], int],
    functions: Mapping[str, int],
) -> None:
    base = placed[number, section.info]
    for position in range(section.offset, section.offset + section.size, 24):
        offset, info, addend = struct.unpack_from("<QQq", item.data, position)
        symbol, kind = item.symbols[info >> 32], info & 0xFFFFFFFF
        if (number, symbol.section) in placed:
            destination = placed[number, symbol.section] + symbol.value
        elif symbol.name in functions:
            destination = functions[symbol.name]
        else:
            raise BuildError(f"generated code refers to '{symbol.name}', which nothing defines")
        place = base + offset
        patch = _patch_x86_64 if item.machine == _X86_64 else _patch_aarch64
        patch(image, place, destination + addend, kind)


def _patch_x86_64(image: bytearray, place: int, destination: int, kind: int) -> None:
    if kind not in (2, 4):  # R_X86_64_PC32, R_X86_64_PLT32
        raise BuildError(f"relocation type {kind} of x86-64 is not position independent")
    struct.pack_into("<i", image, place, destination - place)


def _patch_aarch64(image: bytearray, place: int, destination: int, kind: int) -> None:
    (word,) = struct.unpack_from("<I", image, place)
    if kind in (282, 283):  # R_AARCH64_JUMP26, R_AARCH64_CALL26
        word |= ((destination - place) >> 2) & 0x3FFFFFF
    elif kind == 275:  # R_AARCH64_ADR_PREL_PG_HI21
        pages = (destination // _PAGE) - (place // _PAGE)
        word |= ((pages & 3) << 29) | (((pages >> 2) & 0x7FFFF) << 5)
    elif kind in _AARCH64_LOW_12_SHIFTS:
        word |= ((destination & 0xFFF) >> _AARCH64_LOW_12_SHIFTS[kind]) << 10
    else:
        raise BuildError(f"relocation type {kind} of AArch64 is not supported")
    struct.pack_into("<I", image, place, word)


_AARCH64_LOW_12_SHIFTS = {277: 0, 278: 0, 284: 1, 285: 2, 286: 3, 299: 4}
