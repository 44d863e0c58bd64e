"""Plans survive the way through a file; no damage gets through."""

from __future__ import annotations

import os
import struct
from dataclasses import replace

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

import native_plans
from tensorwright.base.errors import PlanError
from tensorwright.plan import file as plan_file
from tensorwright.plan.file import HEADER_BYTES, MAGIC, parse_plan, read_plan, serialize_plan, write_plan
from tensorwright.plan.plan import WEIGHTS_ALIGNMENT
from tensorwright.plan.seal import sealed

PLAN = native_plans.plan()
CONTENT = serialize_plan(PLAN)
FIELDS = {"version": (8, "<I"), "header": (12, "<I"), "bytes": (16, "<Q")} | {
    f"{section} {field}": (24 + 32 * number + 8 * part, "<Q")
    for number, section in enumerate(("manifest", "code", "weights"))
    for part, field in enumerate(("offset", "size"))
}


def headed(content: bytes) -> bytes:
    """The content with a header digest that is right again."""
    header = content[: HEADER_BYTES - 16]
    return header + xxhash.xxh3_128(header).digest() + content[HEADER_BYTES:]


def test_bytes_come_back_as_an_equal_plan():
    assert parse_plan(CONTENT) == PLAN
    assert serialize_plan(parse_plan(CONTENT)) == CONTENT


def test_a_file_comes_back_as_an_equal_plan_with_mapped_weights(tmp_path):
    write_plan(PLAN, tmp_path / "a.plan")
    assert (tmp_path / "a.plan").read_bytes() == CONTENT
    plan = read_plan(tmp_path / "a.plan")
    (tmp_path / "a.plan").unlink()
    assert plan == PLAN
    assert plan.weights.readonly
    assert np.frombuffer(plan.weights, np.uint8).ctypes.data % WEIGHTS_ALIGNMENT == 0


@pytest.mark.parametrize("tables", [((0, 10),), ((3, 4), (10, 6)), ((5, 11),)], ids=str)
def test_tables_are_verified_like_all_else(tmp_path, monkeypatch, tables):
    monkeypatch.setattr(plan_file, "_BLOCK", 4)
    path = tmp_path / "a.plan"
    write_plan(sealed(replace(PLAN, tables=tables)), path)
    assert read_plan(path).tables == tables
    content = path.read_bytes()
    for position in range(len(content) - PLAN.weights.nbytes, len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(PlanError, match=r"the weights .* do not match their digest"):
            read_plan(path)


def test_equal_plans_have_equal_bytes():
    assert serialize_plan(native_plans.plan()) == CONTENT


def test_a_new_file_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "a.plan"
    write_plan(native_plans.plan(name="old"), path)
    old = read_plan(path)
    write_plan(PLAN, path)
    assert read_plan(path) == PLAN
    assert bytes(old.weights) == native_plans.SCALE.tobytes()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.plan"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.plan"
    write_plan(PLAN, path)

    def fail(handle):
        raise OSError("disk on fire")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk on fire"):
        write_plan(native_plans.plan(name="new"), path)
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.plan"]


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "empty").touch()
    with pytest.raises(PlanError, match="is empty"):
        read_plan(tmp_path / "empty")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, make):
    make(tmp_path / "x")
    with pytest.raises(PlanError, match="is no regular file"):
        read_plan(tmp_path / "x")


def test_another_file_is_refused(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"\x08\x07onnx" * 100)
    with pytest.raises(PlanError, match=r"model\.onnx is no plan"):
        read_plan(tmp_path / "model.onnx")


def test_another_format_version_is_refused_naming_both():
    with pytest.raises(PlanError, match=r"has format version 77, this version of tensorwright reads 6"):
        parse_plan(MAGIC + struct.pack("<I", 77) + CONTENT[12:])


def test_every_truncation_is_refused():
    for length in (*range(HEADER_BYTES + 1), *range(HEADER_BYTES, len(CONTENT), 97), len(CONTENT) - 1):
        with pytest.raises(PlanError):
            parse_plan(CONTENT[:length])


def test_a_truncated_file_says_so():
    with pytest.raises(PlanError, match=f"truncated: expected {len(CONTENT)} bytes, found {len(CONTENT) - 1}"):
        parse_plan(CONTENT[:-1])


@given(st.binary(min_size=1, max_size=100))
def test_anything_behind_the_plan_is_refused(tail):
    with pytest.raises(PlanError, match="followed by something else"):
        parse_plan(CONTENT + tail)


def test_every_flipped_bit_of_the_header_is_refused():
    for bit in range(8 * HEADER_BYTES):
        with pytest.raises(PlanError):
            parse_plan(flipped(bit))


@given(st.integers(8 * HEADER_BYTES, 8 * len(CONTENT) - 1))
def test_every_flipped_bit_is_refused(bit):
    with pytest.raises(PlanError):
        parse_plan(flipped(bit))


def test_flipped_bits_at_the_borders_of_sections_are_refused():
    borders = [
        value
        for name, (at, code) in FIELDS.items()
        if "offset" in name
        for value in struct.unpack_from(code, CONTENT, at)
    ]
    for border in (*borders, len(CONTENT)):
        for byte in {border - 1, border} & set(range(len(CONTENT))):
            with pytest.raises(PlanError):
                parse_plan(flipped(8 * byte))


@given(st.sampled_from(sorted(FIELDS)), st.integers(0, 2**64 - 1) | st.integers(0, 10_000))
def test_lying_headers_are_refused_even_with_a_right_digest(name, value):
    at, code = FIELDS[name]
    changed = bytearray(CONTENT)
    struct.pack_into(code, changed, at, value % 2 ** (8 * struct.calcsize(code)))
    if bytes(changed) == CONTENT:
        return
    with pytest.raises(PlanError):
        parse_plan(headed(bytes(changed)))


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_are_refused(content, with_magic):
    with pytest.raises(PlanError):
        parse_plan((MAGIC if with_magic else b"") + content)


def test_damage_is_named_with_its_place():
    weights = CONTENT.index(native_plans.SCALE.tobytes())
    with pytest.raises(PlanError, match=f"the weights \\(bytes {weights} to {len(CONTENT)}\\) do not match"):
        parse_plan(flipped(8 * weights + 3))
    with pytest.raises(PlanError, match=r"the header .* does not match"):
        parse_plan(flipped(8 * 50))


def test_padding_must_be_zero():
    weights = CONTENT.index(native_plans.SCALE.tobytes())
    with pytest.raises(PlanError, match="expected zeros"):
        parse_plan(flipped(8 * (weights - 1)))


def test_a_manifest_of_absurd_size_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr(plan_file, "MAX_MANIFEST", 10)
    with pytest.raises(PlanError, match="a manifest of at most 10 bytes"):
        parse_plan(CONTENT)


def flipped(bit: int) -> bytes:
    changed = bytearray(CONTENT)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
