"""Compiler processes import what this process does, whatever lies in the folder that it works in."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tensorwright.backends.find import backend_named
from tensorwright.base.errors import BuildError
from tensorwright.codegen import pool as compiler_pool
from tensorwright.codegen.cpu.pool import CpuCompilerPool
from tensorwright.codegen.cpu.targets import target_named
from tensorwright.devices.cpu.host import best_instruction_set

IN_PROCESS = compiler_pool.IN_PROCESS
MODULES = {f"f{number}": f"define void @f{number}() {{ ret void }}" for number in range(IN_PROCESS + 2)}


@pytest.fixture(autouse=True)
def _compiled_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler_pool, "IN_PROCESS", IN_PROCESS)


def _pool() -> CpuCompilerPool:
    return CpuCompilerPool(target_named(best_instruction_set()), 2)


def test_modules_of_the_users_folder_are_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("types", "struct", "enum", "numpy", "llvmlite", "tensorwright"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # Where a script's own folder stands.
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    heard: list[str] = []
    with _pool() as pool:
        pool.compile_all(MODULES, heard.append)
        assert all(pool.compile(name, text)[:4] == b"\x7fELF" for name, text in MODULES.items())
    assert heard == list(MODULES)


@pytest.mark.parametrize(("allowed", "started"), [(1, 0), (2, 2), (64, len(MODULES))])
def test_no_more_processes_are_started_than_have_something_to_do(
    allowed: int, started: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes: list[object] = []

    class Counted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            processes.append(self)
            super().__init__(*arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", Counted)
    with CpuCompilerPool(target_named(best_instruction_set()), allowed) as pool:
        pool.compile_all(MODULES, lambda name: None)
    assert min(1, started) <= len(processes) <= started


def test_a_pinned_process_starts_no_more_compilers_than_it_has_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    pool = backend_named("cpu").toolchain(None, None, None).compiler()
    assert isinstance(pool, CpuCompilerPool)
    assert pool._count == 1


def test_what_llvm_rejects_is_reported() -> None:
    with _pool() as pool, pytest.raises(BuildError, match="not valid LLVM IR"):
        pool.compile_all({**MODULES, "bad": "define void @bad() { nonsense }"}, lambda name: None)
