"""Plans as bytes. The format is described in docs/plan-format.md."""

from __future__ import annotations

import mmap
import os
import stat
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypedDict

import xxhash

from tensorwright.base.errors import PlanError
from tensorwright.base.pages import ask_for_huge_pages, map_pages
from tensorwright.plan.limits import MAX_MANIFEST
from tensorwright.plan.manifest import CODE_ALIGNMENT, Facts, Manifest, read_manifest, write_manifest
from tensorwright.plan.places import places_of
from tensorwright.plan.plan import (
    FORMAT_VERSION,
    WEIGHTS_ALIGNMENT,
    Binding,
    Executable,
    IndexUse,
    Json,
    Plan,
    PlanStep,
)
from tensorwright.plan.seal import digest as _digest
from tensorwright.plan.seal import seal_of
from tensorwright.plan.signature import is_signature, require_trusted, sign, trusted_here
from tensorwright.tensor.dim import Symbol

if TYPE_CHECKING:
    from tensorwright.plan.signature import PrivateKey, PublicKey

MAGIC = b"\x89TWPLAN\n"

_PREFIX = struct.Struct("<8sIIQ")  # magic, format version, bytes of the header, bytes of the file
_SECTION = struct.Struct("<QQ16s")  # offset, size, digest
_SEAL = 16  # the digest of the header before it
SECTIONS = ("manifest", "code", "weights")
HEADER_BYTES = _PREFIX.size + len(SECTIONS) * _SECTION.size + _SEAL
_ALIGNMENTS = (1, CODE_ALIGNMENT, WEIGHTS_ALIGNMENT)

_ADVICE = "the file is damaged: copy it again or build it again"
_BLOCK = 64 << 20
"""Bytes of tables that are mapped and hashed at a time: more would count as memory of the process, less would ask for
the interpreter's lock more often.
"""


class _Section(NamedTuple):
    """Where a part of the file lies."""

    name: str
    offset: int
    size: int
    digest: bytes

    @property
    def end(self) -> int:
        return self.offset + self.size


class OpenedPlan:
    """A plan whose weights are still being verified, on a thread of their own.

    plan: everything of it is verified but the weights; do not run it before `verify` has returned.
    """

    def __init__(self, plan: Plan, weights: _Section, digest: Callable[[], bytes], where: str) -> None:
        self.plan = plan
        self._weights = weights
        self._digest = digest
        self._where = where
        self._found: bytes | BaseException = b""
        self._thread: threading.Thread | None = threading.Thread(target=self._hash, name="tensorwright-verify")
        try:
            self._thread.start()
        except RuntimeError:  # No more threads are allowed.
            self._thread = None
            self._hash()

    def verify(self) -> Plan:
        """Wait until all weights are read.

        Raises:
            PlanError: they are damaged.
            OSError: they cannot be read.
        """
        self.wait()
        if isinstance(self._found, BaseException):
            raise self._found
        _require_digest(self._weights, self._found, self._where)
        return self.plan

    def wait(self) -> None:
        """Wait until the weights are read, right or not."""
        if self._thread is not None:
            self._thread.join()

    def _hash(self) -> None:
        try:
            self._found = self._digest()
        except BaseException as error:  # noqa: BLE001 - raised by who waits
            self._found = error


def write_plan(plan: Plan, path: str | os.PathLike[str], key: PrivateKey | None = None) -> None:
    """Write a plan; the file appears complete or not at all.

    Links are followed, and an existing file passes its permissions on. key: signs the plan.

    Raises:
        PlanError: the report is not plain data.
        FileError: something else than a regular file is there.
        OSError: the folder cannot be written to.
    """
    from tensorwright.base.files import replacing

    parts = _signed(plan, key)
    with replacing(path) as file:
        for part in parts:
            file.write(part)


def serialize_plan(plan: Plan, key: PrivateKey | None = None) -> bytes:
    """The bytes that `write_plan` writes."""
    return b"".join(_signed(plan, key))


def sign_file(path: str | os.PathLike[str], key: PrivateKey) -> None:
    """Sign a plan in a file, which is replaced; an earlier signature is, too.

    Raises:
        PlanError: the file is no plan or damaged, or the key is none.
        OSError: the file cannot be read or written.
    """
    write_plan(_only(_open_file(path, copy=True, trusted=None), path).verify(), path, key)


def _signed(plan: Plan, key: PrivateKey | None) -> list[bytes | memoryview]:
    parts = list(_parts(plan))
    return parts if key is None else [*parts, sign(parts, key)]


def read_plan(path: str | os.PathLike[str]) -> Plan:
    """Read a plan and verify it. The weights are mapped, not copied: the file may be deleted but must not be altered.

    Raises:
        PlanError: the file is no plan, of another version or damaged.
        OSError: the file cannot be read.
    """
    return open_plan(path).verify()


def open_plan(
    path: str | os.PathLike[str], *, copy: bool = False, trusted: Sequence[PublicKey] | None = None
) -> OpenedPlan:
    """As `read_plan`, but the weights are verified while the caller goes on.

    copy: read the file into memory of this process instead of mapping it. trusted: public keys, with one of which the
    plan has to be signed; all of it is read then before anything is made of it.

    What every inference reads is hashed through the plan's mapping, so that its pages are there when the first one
    comes; tables are hashed through mappings of their own, so that rows that no inference touches stay out of the
    memory of the process.
    """
    return _only(open_plans(path, copy=copy, trusted=trusted), path)


def open_plans(
    source: str | os.PathLike[str] | bytes | bytearray | memoryview,
    *,
    copy: bool = False,
    trusted: Sequence[PublicKey] | None = None,
) -> tuple[OpenedPlan, ...]:
    """As `open_plan`, of a file or of bytes: the plans of a bundle, or the only one."""
    trusted = trusted_here() if trusted is None else trusted
    if isinstance(source, bytes | bytearray | memoryview):
        content = memoryview(bytes(source) if copy else source).cast("B").toreadonly()
        return _open_all(content, "the plan", None, trusted)
    return _open_file(source, copy=copy, trusted=trusted)


def _only(opened: Sequence[OpenedPlan], where: str | os.PathLike[str]) -> OpenedPlan:
    if len(opened) == 1:
        return opened[0]
    targets = ", ".join(one.plan.stamp.target for one in opened)
    raise PlanError(f"{os.fspath(where)} holds plans for several targets ({targets}), expected one; `load` chooses")


def _open_all(
    content: memoryview, where: str, handle: int | None, trusted: Sequence[PublicKey] | None
) -> tuple[OpenedPlan, ...]:
    """handle: of the file that the content is mapped from."""
    places = places_of(content, where)
    if places is None:
        return (_open(content, where, handle, trusted, 0),)
    return tuple(
        _open(content[start : start + size], f"{where}, plan {number}", handle, trusted, start)
        for number, (start, size) in enumerate(places)
    )


def _open_file(
    path: str | os.PathLike[str], *, copy: bool, trusted: Sequence[PublicKey] | None
) -> tuple[OpenedPlan, ...]:
    if "\0" in os.fsdecode(path):
        raise PlanError(f"{os.fsdecode(path)!r}: expected the path of a plan, found one with a zero byte")
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # Opening a pipe must not wait for its writer.
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise PlanError(f"{os.fspath(path)} is no regular file; give the path of a plan, or the bytes of one")
        size = found.st_size
        if size == 0:
            raise PlanError(f"{os.fspath(path)} is empty; {_ADVICE}")
        if copy:
            return _open_all(_read(handle, size), os.fspath(path), None, trusted)
        pages = mmap.mmap(handle, size, access=mmap.ACCESS_READ)
        ask_for_huge_pages(pages)
        return _open_all(memoryview(pages), os.fspath(path), handle, trusted)
    finally:
        os.close(handle)


def parse_plan(buffer: bytes | bytearray | memoryview) -> Plan:
    """The plan that bytes hold; its weights refer to them.

    Raises:
        PlanError: the bytes are no plan, of another version or damaged.
    """
    return open_buffer(buffer).verify()


def open_buffer(buffer: bytes | bytearray | memoryview, *, trusted: Sequence[PublicKey] | None = None) -> OpenedPlan:
    """As `parse_plan`, but the weights are verified while the caller goes on. trusted: see `open_plan`."""
    return _only(open_plans(buffer, trusted=trusted), "the plan")


def _read(handle: int, size: int) -> memoryview:
    """The first `size` bytes of a file, or as many as it has, in memory that is aligned to pages."""
    memory = memoryview(map_pages(size))
    found = 0
    while found < size and (read := os.readv(handle, [memory[found : found + _BLOCK]])):
        found += read
    return memory[:found].toreadonly()


def _parts(plan: Plan) -> Iterator[bytes | memoryview]:
    """The content of the file in pieces, so that the weights are never copied."""
    contents: tuple[bytes | memoryview, ...] = (write_manifest(plan), plan.executable.code, plan.weights)
    sections, offset = [], HEADER_BYTES
    for name, content, alignment in zip(SECTIONS, contents, _ALIGNMENTS, strict=True):
        offset = _round_up(offset, alignment)
        size = memoryview(content).nbytes
        sections.append(_Section(name, offset, size, _digest(content)))
        offset += size
    header = _PREFIX.pack(MAGIC, FORMAT_VERSION, HEADER_BYTES, offset)
    header += b"".join(_SECTION.pack(section.offset, section.size, section.digest) for section in sections)
    yield header + _digest(header)
    position = HEADER_BYTES
    for section, content in zip(sections, contents, strict=True):
        yield bytes(section.offset - position)
        yield content
        position = section.end


def _open(
    content: memoryview, where: str, handle: int | None, trusted: Sequence[PublicKey] | None, start: int
) -> OpenedPlan:
    """handle: of the file that the content is mapped from, where it starts at a byte."""
    sections, end = _read_header(content, where)
    _require_layout(sections, end, where)
    manifest, code, weights = sections
    packed, tail = content[weights.offset : weights.end], content[end:]
    if trusted is not None:
        # Whoever may write to a file that is mapped must not change code after it was verified.
        content = memoryview(bytes(content[: weights.offset]))
        require_trusted((content, packed), tail, trusted, where)
    position = HEADER_BYTES
    for section in sections:
        _require_zeros(content[position : section.offset], position, where)
        position = section.end
    for section in (manifest, code):
        _require_digest(section, _digest(content[section.offset : section.end]), where)
    facts = read_manifest(content[manifest.offset : manifest.end], code.size, weights.size)
    if seal_of(facts.document, code.digest, weights.digest) != facts.seal:
        raise PlanError(f"{where}: manifest, code and weights were not made for each other; {_ADVICE}")
    plan = _plan(facts, bytes(content[code.offset : code.end]), packed)
    if handle is None:
        return OpenedPlan(plan, weights, lambda: _digest(plan.weights), where)
    own = os.dup(handle)
    return OpenedPlan(plan, weights, lambda: _file_digest(own, start + weights.offset, plan), where)


def _plan(manifest: Manifest, code: bytes, weights: memoryview) -> Plan:
    whole = Plan(
        name=manifest.name,
        stamp=manifest.stamp,
        batch_symbol=manifest.batch_symbol,
        threads=manifest.threads,
        weights=weights,
        report=manifest.report,
        seal=manifest.seal,
        **_fields(manifest.facts, code),
    )
    reports = [manifest.report, *_reports(manifest.report)]
    profiles = []
    for number, profile in enumerate(manifest.profiles):
        start, size = profile.code
        report = reports[number] if number < len(reports) else {}
        profiles.append(replace(whole, seal="", report=report, **_fields(profile.facts, code[start : start + size])))
    return replace(whole, profiles=tuple(profiles))


class _ProgramFields(TypedDict):
    bindings: tuple[Binding, ...]
    symbols: tuple[Symbol, ...]
    executable: Executable
    arena_bytes: int
    workspace_bytes: int
    steps: tuple[PlanStep, ...]
    tables: tuple[tuple[int, int], ...]
    indices: tuple[IndexUse, ...]


def _fields(facts: Facts, code: bytes) -> _ProgramFields:
    return {
        "bindings": facts.bindings,
        "symbols": facts.symbols,
        "executable": Executable(code, facts.entries, facts.libraries),
        "arena_bytes": facts.arena_bytes,
        "workspace_bytes": facts.workspace_bytes,
        "steps": facts.steps,
        "tables": facts.tables,
        "indices": facts.indices,
    }


def _reports(report: Mapping[str, Json]) -> list[Mapping[str, Json]]:
    """The reports of the profiles behind the first."""
    found = report.get("reports")
    return [one if isinstance(one, dict) else {} for one in found] if isinstance(found, list) else []


def _read_header(content: memoryview, where: str) -> tuple[tuple[_Section, ...], int]:
    """The sections, and where the plan ends: behind it may be a signature."""
    start = bytes(content[: _PREFIX.size])
    if start[: len(MAGIC)] != MAGIC[: len(start)]:
        raise PlanError(f"{where} is no plan: expected it to start with {MAGIC!r}, found {start[: len(MAGIC)]!r}")
    if len(start) < _PREFIX.size:
        raise PlanError(f"{where}: expected a header of {HEADER_BYTES} bytes, found {len(start)}; {_ADVICE}")
    _, version, header_bytes, file_bytes = _PREFIX.unpack(start)
    if version != FORMAT_VERSION:
        raise PlanError(
            f"{where} has format version {version}, this version of tensorwright reads {FORMAT_VERSION}; "
            "build the plan again, or load it with the version that wrote it"
        )
    if header_bytes != HEADER_BYTES:
        raise PlanError(f"{where}: expected a header of {HEADER_BYTES} bytes, found {header_bytes}; {_ADVICE}")
    header = bytes(content[:HEADER_BYTES])
    if len(header) < HEADER_BYTES or _digest(header[:-_SEAL]) != header[-_SEAL:]:
        raise PlanError(f"{where}: the header (bytes 0 to {HEADER_BYTES}) does not match its digest; {_ADVICE}")
    if file_bytes != content.nbytes and not is_signature(content[file_bytes:]):
        state = "truncated" if content.nbytes < file_bytes else "followed by something else"
        raise PlanError(f"{where} is {state}: expected {file_bytes} bytes, found {content.nbytes}; {_ADVICE}")
    table = _SECTION.iter_unpack(header[_PREFIX.size : -_SEAL])
    return tuple(_Section(name, *fields) for name, fields in zip(SECTIONS, table, strict=True)), file_bytes


def _require_layout(sections: tuple[_Section, ...], file_bytes: int, where: str) -> None:
    position = HEADER_BYTES
    for section, alignment in zip(sections, _ALIGNMENTS, strict=True):
        expected = _round_up(position, alignment)
        if section.offset != expected or section.end > file_bytes:
            raise PlanError(
                f"{where}: the {section.name} must start at byte {expected} and end before {file_bytes}, found "
                f"{section.offset} to {section.end}; {_ADVICE}"
            )
        position = section.end
    if position != file_bytes:
        raise PlanError(f"{where}: the weights must end with the file at {file_bytes}, found {position}; {_ADVICE}")
    manifest, code, _ = sections
    if manifest.size > MAX_MANIFEST:
        raise PlanError(
            f"{where}: expected a manifest of at most {MAX_MANIFEST} bytes, found {manifest.size}; {_ADVICE}"
        )
    if code.size == 0:
        raise PlanError(f"{where} holds no code; {_ADVICE}")


def _require_zeros(padding: memoryview, position: int, where: str) -> None:
    if any(padding):
        raise PlanError(f"{where}: expected zeros in bytes {position} to {position + padding.nbytes}; {_ADVICE}")


def _require_digest(section: _Section, found: bytes, where: str) -> None:
    if found != section.digest:
        raise PlanError(
            f"{where}: the {section.name} (bytes {section.offset} to {section.end}) do not match their digest; "
            f"{_ADVICE}"
        )


def _file_digest(handle: int, offset: int, plan: Plan) -> bytes:
    """The digest of the weights of a plan, which start at an offset of an open file; the file is closed."""
    hasher, position = xxhash.xxh3_128(), 0
    try:
        for start, size in plan.tables:
            hasher.update(plan.weights[position:start])
            _hash_apart(hasher, handle, offset + start, size)
            position = start + size
        hasher.update(plan.weights[position:])
    except ValueError:  # The file has become shorter than it was.
        return b""
    finally:
        os.close(handle)
    return hasher.digest()


def _hash_apart(hasher: xxhash.xxh3_128, handle: int, position: int, size: int) -> None:
    """Hash a part of a file through mappings that go away again. Raises ValueError when the file ends before it."""
    end = position + size
    while position < end:
        before = position % mmap.ALLOCATIONGRANULARITY
        block = min(_BLOCK, end - position)
        with mmap.mmap(handle, before + block, access=mmap.ACCESS_READ, offset=position - before) as mapping:
            hasher.update(memoryview(mapping)[before:] if before else mapping)
        position += block


def _round_up(value: int, alignment: int) -> int:
    return -(-value // alignment) * alignment
