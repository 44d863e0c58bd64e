"""LLVM IR text to PTX, and PTX to machine code."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import llvmlite.binding as llvm

from tensorwright.base.errors import BuildError
from tensorwright.codegen.cuda.targets import TRIPLE, CudaTarget
from tensorwright.codegen.memory import require_memory

MOST_STORED = 8
"""The most registers that one instruction stores."""


@cache
def _initialise() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


@cache
def _machine(target: CudaTarget) -> llvm.TargetMachine:
    _initialise()
    return llvm.Target.from_triple(TRIPLE).create_target_machine(cpu=target.cpu, features=target.features, opt=3)


def compile_ptx(text: str, target: CudaTarget) -> str:
    """The PTX of a module of LLVM IR.

    Raises:
        BuildError: LLVM does not accept the text, or there may be too little memory for it.
    """
    require_memory(text)
    machine = _machine(target)
    try:
        module = llvm.parse_assembly(f'target triple = "{TRIPLE}"\n{text}')
        module.verify()
    except RuntimeError as error:
        raise BuildError(f"generated code is not valid LLVM IR (a defect of tensorwright): {error}") from error
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = False
    options.slp_vectorization = False
    options.loop_interleaving = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return _as_bits(str(machine.emit_assembly(module)))


_NARROW_STORE = re.compile(
    r"(?P<store>(?:@!?%p\d+\s+)?st\.[\w.:]*\.b(?:8|16)\s+\[[^\]]*\],\s*)(?P<stored>[^;]*%r\d[^;]*);"
)


def _as_bits(ptx: str) -> str:
    """PTX whose stores of one or two bytes take them from registers that nobody takes for floats.

    ptxas 13.0 converts to an integer what it knows to be a float where a store narrows it, whatever type the store has.
    """
    found, count = _NARROW_STORE.subn(_copied, ptx)
    return found.replace("\n{\n", f"\n{{\n\t.reg .b32 \t%bits<{MOST_STORED}>;\n") if count else ptx


def _copied(store: re.Match[str]) -> str:
    """The store, of copies of its registers."""
    names = {register: f"%bits{n}" for n, register in enumerate(dict.fromkeys(re.findall(r"%r\d+", store["stored"])))}
    moves = "".join(f"mov.b32 \t{name}, {register};\n\t" for register, name in names.items())
    stored = re.sub(r"%r\d+", lambda register: names[register[0]], store["stored"])
    return f"{moves}{store['store']}{stored};"


@dataclass(frozen=True)
class Resources:
    """What the assembler says a kernel takes: registers for each thread, bytes of local memory and of shared memory."""

    registers: int
    stack_bytes: int
    spill_bytes: int
    shared_bytes: int


Assembled = tuple[bytes, dict[str, Resources]]
"""A cubin, and what the kernels in it take, by their names."""


@cache
def find_assembler() -> str | None:
    """NVIDIA's assembler `ptxas`, on the path or from the package nvidia-cuda-nvcc; None if there is none."""
    found = shutil.which("ptxas")
    if found:
        return found
    spec = importlib.util.find_spec("nvidia")
    for root in [] if spec is None else spec.submodule_search_locations or []:
        for path in sorted(Path(root).glob("*/bin/ptxas")):
            return str(path)
    return None


def assemble(ptx: str, target: CudaTarget) -> Assembled:
    """The machine code (a cubin) of PTX, and for each kernel in it what it takes.

    If the assembler keeps registers in memory so that more blocks fit a multiprocessor, it is told that one has to; if
    it still does, not to unroll loops. What keeps the least in memory is taken.

    Raises:
        BuildError: there is no assembler, or it does not accept the text.
    """
    best = _assembled(ptx, target)
    for change in (_for_one_block, _round_by_round):
        if not _spilled(best):
            break
        ptx = change(ptx)
        best = min(best, _assembled(ptx, target), key=_spilled)
    return best


def _spilled(assembled: Assembled) -> int:
    return sum(kernel.spill_bytes for kernel in assembled[1].values())


def _for_one_block(ptx: str) -> str:
    """PTX whose kernels may use all registers of a multiprocessor in one block."""
    return re.sub(r"^(\.maxntid .*)(\n\.minnctapersm .*)?$", r"\1\n.minnctapersm 1", ptx, flags=re.MULTILINE)


def _round_by_round(ptx: str) -> str:
    """PTX whose loops are not unrolled: it says so behind every label that is jumped back to."""
    return re.sub(r"^(\$\w+):$(?=[\s\S]*\bbra[.\w]*\s+\1;)", r'\g<0>\n\t.pragma "nounroll";', ptx, flags=re.MULTILINE)


def resources_of(modules: Sequence[str], target: CudaTarget) -> dict[str, Resources]:
    """What the kernels of modules in PTX take as they are, by their names, without the shared memory of a module's own.

    To assemble a small kernel takes as long as to start the assembler, which gets all of them at once.

    Raises:
        BuildError: there is no assembler, or it does not accept a text, or two kernels have one name.
    """
    with tempfile.TemporaryDirectory() as folder:
        sources = [Path(folder) / f"{number}.ptx" for number in range(len(modules))]
        for source, ptx in zip(sources, modules, strict=True):
            source.write_text(ptx)
        return _resources(_log(sources, Path(folder) / "kernels.cubin", target))


def _assembled(ptx: str, target: CudaTarget) -> Assembled:
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "kernel.ptx", Path(folder) / "kernel.cubin"
        source.write_text(ptx)
        log = _log([source], output, target)
        return output.read_bytes(), _resources(log)


def _log(sources: Sequence[Path], output: Path, target: CudaTarget) -> str:
    """What the assembler says of files of PTX."""
    assembler = find_assembler()
    if assembler is None:
        raise BuildError("ptxas was not found: install the package nvidia-cuda-nvcc, or put ptxas on the path")
    command = [assembler, f"-arch={target.cpu}", "-O3", "-v", *map(str, sources), "-o", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"ptxas does not accept generated code (a defect of tensorwright): {done.stderr.strip()}")
    return done.stderr


def _resources(log: str) -> dict[str, Resources]:
    found = {}
    for part in re.split(r"Compiling entry function '", log)[1:]:
        found[part[: part.index("'")]] = Resources(
            registers=_number(r"Used (\d+) registers", part),
            stack_bytes=_number(r"(\d+) bytes stack frame", part),
            spill_bytes=_number(r"(\d+) bytes spill stores", part) + _number(r"(\d+) bytes spill loads", part),
            shared_bytes=_number(r"(\d+) bytes smem", part),
        )
    return found


def _number(pattern: str, text: str) -> int:
    match = re.search(pattern, text)
    return int(match[1]) if match else 0


def compile_image(text: str, target: CudaTarget) -> bytes:
    """What the driver loads: machine code, or PTX, which it compiles itself, where no assembler knows the target.

    Raises:
        BuildError: LLVM or the assembler does not accept the text.
    """
    ptx = compile_ptx(text, target)
    return assemble(ptx, target)[0] if can_assemble(target, find_assembler()) else ptx.encode()


@cache
def can_assemble(target: CudaTarget, assembler: str | None) -> bool:
    """Whether there is an assembler, not too old for the target and the version of PTX."""
    if assembler is None:
        return False
    try:
        assemble(compile_ptx("define ptx_kernel void @nothing() {\n  ret void\n}\n", target), target)
    except (BuildError, OSError):
        return False
    return True
