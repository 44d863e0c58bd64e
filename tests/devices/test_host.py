"""Plans are refused where they cannot run, and only there."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest

from tensorwright.base.errors import PlanError
from tensorwright.devices.cpu import host
from tensorwright.devices.cpu.host import best_instruction_set, check, host_stamp
from tensorwright.devices.cpu.instruction_sets import INSTRUCTION_SETS

HOST = host_stamp("baseline")


def test_the_host_has_its_best_instruction_set():
    name = best_instruction_set()
    assert host_stamp().target == name
    assert set(INSTRUCTION_SETS[name].features) <= set(host_stamp(name).features)
    check(host_stamp(name))


def test_a_stamp_holds_only_the_features_that_the_code_uses():
    assert host_stamp("baseline").features == ()
    some = sorted(host.host_features())[:1]
    assert host_stamp("baseline", extensions=some).features == tuple(some)


def test_an_unknown_instruction_set_is_refused():
    with pytest.raises(
        PlanError,
        match="'mmx' is unknown; expected one of avx512_amx, avx512_fp16, avx512_bf16, avx512_vnni, avx512, avx2, "
        "baseline, aarch64",
    ):
        host_stamp("mmx")


def test_an_instruction_set_that_the_host_lacks_is_refused(monkeypatch):
    monkeypatch.setattr(host, "host_features", lambda: frozenset(INSTRUCTION_SETS["avx512"].features) - {"avx512vl"})
    with pytest.raises(PlanError, match="lacks avx512vl; choose 'avx2'"):
        host_stamp("avx512")


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("package_version", "0.0.7", "version of tensorwright 0.0.7"),
        ("operating_system", "plan9", "operating system plan9"),
        ("architecture", "vax", "processor architecture vax"),
    ],
)
def test_a_plan_of_another_kind_of_machine_is_refused_naming_both_sides(field, value, what):
    with pytest.raises(PlanError, match=f"built for the {what}, this is {getattr(HOST, field)}"):
        check(replace(HOST, **{field: value}))


def test_a_missing_feature_is_named_with_both_processors():
    plan = replace(HOST, target="avx512", features=("avx512f", "warp9"), model="Big Iron")
    other = replace(HOST, features=("avx512f",), model="Small Iron", target="avx2")
    with pytest.raises(PlanError, match=r"avx512 on Big Iron; this processor, Small Iron, lacks warp9"):
        check(plan, other)


def test_the_real_host_is_asked_for_all_its_features(monkeypatch):
    monkeypatch.setattr(host, "host_features", lambda: frozenset({"sse2", "warp9"}))
    check(replace(HOST, features=("warp9",)))
    with pytest.raises(PlanError, match="lacks warp10"):
        check(replace(HOST, features=("warp10",)))


def test_another_processor_with_the_same_features_is_only_a_warning():
    with pytest.warns(RuntimeWarning, match="tuned on Big Iron"):
        check(replace(HOST, model="Big Iron"))


def test_the_same_machine_gives_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(HOST)
