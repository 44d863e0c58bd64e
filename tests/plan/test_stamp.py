"""Plans are refused where they cannot run, and only there."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest

from tensorwright.base.errors import PlanError
from tensorwright.plan import stamp
from tensorwright.plan.stamp import AVX512_FEATURES, INSTRUCTION_SETS, best_instruction_set, check, host_stamp

HOST = host_stamp("baseline")


def test_the_host_has_its_best_instruction_set():
    name = best_instruction_set()
    assert host_stamp().instruction_set == name
    assert set(INSTRUCTION_SETS[name]) <= set(host_stamp(name).features)
    check(host_stamp(name))


def test_a_stamp_holds_only_the_features_that_the_code_uses():
    assert host_stamp("baseline").features == ()
    some = sorted(stamp.host_features())[:1]
    assert host_stamp("baseline", extensions=some).features == tuple(some)


def test_an_unknown_instruction_set_is_refused():
    with pytest.raises(PlanError, match="'mmx' is unknown; expected one of baseline, avx2, avx512, aarch64"):
        host_stamp("mmx")


def test_an_instruction_set_that_the_host_lacks_is_refused(monkeypatch):
    monkeypatch.setattr(stamp, "host_features", lambda: frozenset(AVX512_FEATURES) - {"avx512vl"})
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
    plan = replace(HOST, instruction_set="avx512", features=("avx512f", "warp9"), cpu_model="Big Iron")
    host = replace(HOST, features=("avx512f",), cpu_model="Small Iron", instruction_set="avx2")
    with pytest.raises(PlanError, match=r"avx512 on Big Iron; this processor, Small Iron, lacks warp9"):
        check(plan, host)


def test_the_real_host_is_asked_for_all_its_features(monkeypatch):
    monkeypatch.setattr(stamp, "host_features", lambda: frozenset({"sse2", "warp9"}))
    check(replace(HOST, features=("warp9",)))
    with pytest.raises(PlanError, match="lacks warp10"):
        check(replace(HOST, features=("warp10",)))


def test_another_processor_with_the_same_features_is_only_a_warning():
    with pytest.warns(RuntimeWarning, match="tuned on Big Iron"):
        check(replace(HOST, cpu_model="Big Iron"))


def test_the_same_machine_gives_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(HOST)
