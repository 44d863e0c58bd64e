"""The generic tactic computes every case of every operator, in every layout it offers, for every instruction set."""

from __future__ import annotations

import importlib
import pkgutil

import numpy as np
import pytest

import cases
from cases.case import Case, Fixed, assert_close
from targets import SINGLE
from tensorwright.codegen.cpu.compile import compile_object
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.graph.graph import apply, input_value
from tensorwright.graph.region import Region, region_of
from tensorwright.kernels.cpu.generic import Generic
from tensorwright.tune.cpu.kernel_runner import run_kernel

MODULES = sorted(info.name for info in pkgutil.iter_modules(cases.__path__) if info.name != "case")
ALL_CASES = [case for name in MODULES for case in importlib.import_module(f"cases.{name}").CASES]


def region_for(case: Case) -> Region:
    inputs = [input_value(f"in{i}", type) for i, type in enumerate(case.types)]
    value = apply(case.op, *inputs)
    return region_of([value], value if value.op.kind in ("anchor", "reduction") else None)


@pytest.mark.parametrize("target_name", SINGLE)
@pytest.mark.parametrize("case", ALL_CASES, ids=repr)
def test_generic_equals_reference(case: Case, target_name: str, rng: np.random.Generator) -> None:
    region, target, arrays = region_for(case), TARGETS[target_name], case.arrays(rng)
    expected = case.expected(arrays)
    for config in Generic().configs(region, target):
        kernel = Generic().emit(region, config, target)
        actual = run_kernel(region, kernel, target, arrays, case.symbols)
        assert_close(actual, expected.astype(actual.dtype), case.scaled_tolerance)


@pytest.mark.parametrize("case", ALL_CASES[::5], ids=repr)
def test_generic_compiles_for_aarch64(case: Case) -> None:
    region, target = region_for(case), TARGETS["aarch64"]
    for config in Generic().configs(region, target):
        assert compile_object(Generic().emit(region, config, target).code, target)


def test_every_family_has_cases() -> None:
    assert len(ALL_CASES) > 100
    assert any(isinstance(operand, Fixed) for case in ALL_CASES for operand in case.inputs)
