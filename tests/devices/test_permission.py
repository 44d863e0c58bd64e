"""Tile registers need the system's permission: it is asked for once, and its absence is seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tensorwright.backends.cpu import BACKEND
from tensorwright.base.errors import PlanError
from tensorwright.devices.cpu import host, permission
from tensorwright.devices.cpu.host import best_instruction_set, check, host_stamp
from tensorwright.devices.cpu.instruction_sets import INSTRUCTION_SETS
from tensorwright.devices.cpu.permission import refused_tiles, tiles_are_permitted

FEATURES = frozenset(INSTRUCTION_SETS["avx512_amx"].features)


@pytest.fixture
def processor(monkeypatch):
    """A processor with tile registers, whatever this one has; `permit` says what the system answers."""
    monkeypatch.setattr(host, "processor_features", lambda: FEATURES)
    monkeypatch.setattr(host, "host_features", host.host_features.__wrapped__)

    def permit(answer):
        monkeypatch.setattr(permission, "tiles_are_permitted", lambda: answer)

    return permit


def test_nothing_is_refused_where_there_is_nothing_to_refuse(monkeypatch):
    monkeypatch.setattr(permission, "tiles_are_permitted", lambda: pytest.fail("the system was asked"))
    assert refused_tiles({"avx2", "avx512f"}) == frozenset()


def test_the_system_answers():
    assert tiles_are_permitted() in (True, False)
    if not tiles_are_permitted():
        assert refused_tiles(FEATURES) == {"amx_tile", "amx_bf16", "amx_int8"}


def test_with_permission_tile_registers_are_the_best_choice(processor):
    processor(True)
    assert best_instruction_set() == "avx512_amx"
    assert host_stamp().features == tuple(sorted(FEATURES))


def test_without_permission_the_next_best_is_chosen_and_errors_say_why(processor):
    processor(False)
    assert best_instruction_set() == "avx512_fp16"
    with pytest.raises(PlanError, match=r"lacks amx_bf16, .*the system does not permit.*choose 'avx512_fp16'"):
        host_stamp("avx512_amx")


def test_builds_without_permission_say_what_they_take_instead(processor):
    processor(False)
    with pytest.warns(RuntimeWarning, match="'avx512_fp16' is taken in place of 'avx512_amx'"):
        assert BACKEND.toolchain(None, 1, None).target == "avx512_fp16"


def test_a_plan_with_tile_registers_is_refused_where_they_are_not_permitted(processor):
    processor(True)
    stamp = host_stamp("avx512_amx")
    check(stamp)
    processor(False)
    with pytest.raises(PlanError, match=r"lacks amx_bf16, .*the system does not permit"):
        check(stamp)


def test_a_plan_with_tile_registers_is_refused_by_a_processor_without(monkeypatch):
    monkeypatch.setattr(host, "processor_features", lambda: FEATURES - {"amx_tile", "amx_bf16", "amx_int8"})
    monkeypatch.setattr(host, "host_features", host.host_features.__wrapped__)
    stamp = replace(host_stamp("avx512_fp16"), target="avx512_amx", features=tuple(sorted(FEATURES)))
    with pytest.raises(PlanError, match=r"avx512_amx on .* lacks amx_bf16, amx_int8, amx_tile; build it again"):
        check(stamp)
