"""For which machine a plan was made, and whether this one is like it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from functools import cache

import tensorwright
from tensorwright.base.errors import PlanError
from tensorwright.plan.plan import MachineStamp

AVX2_FEATURES = ("abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "popcnt", "sse4_2")
AVX512_FEATURES = (*AVX2_FEATURES, "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl")

_FIRST_PROCESSOR = 8192
"""Bytes of /proc/cpuinfo that hold its first processor; the system takes long to write about all of them."""

# What each instruction set needs, in the names of the Linux kernel.
INSTRUCTION_SETS: dict[str, tuple[str, ...]] = {
    "baseline": (),
    "avx2": AVX2_FEATURES,
    "avx512": AVX512_FEATURES,
    "aarch64": ("asimd",),
}


def host_stamp(instruction_set: str | None = None, extensions: Sequence[str] = ()) -> MachineStamp:
    """This machine, as far as code for an instruction set uses it; by default the best one that the machine has.

    extensions: features that the code uses beyond the instruction set, in the names of the Linux kernel.

    Raises:
        PlanError: the instruction set is unknown, or the machine lacks one of its features.
    """
    name = best_instruction_set() if instruction_set is None else instruction_set
    if name not in INSTRUCTION_SETS:
        raise PlanError(f"instruction set '{name}' is unknown; expected one of {', '.join(INSTRUCTION_SETS)}")
    features = sorted({*INSTRUCTION_SETS[name], *extensions})
    missing = [feature for feature in features if feature not in host_features()]
    if missing or (name == "aarch64") != (_architecture() == "aarch64"):
        raise PlanError(
            f"instruction set '{name}' needs {', '.join(features) or 'an x86-64 processor'}; this machine "
            f"({_architecture()}, {_cpu_model()}) lacks {', '.join(missing) or 'it'}; choose '{best_instruction_set()}'"
        )
    return MachineStamp(
        package_version=tensorwright.__version__,
        architecture=_architecture(),
        operating_system=_system().lower(),
        instruction_set=name,
        features=tuple(features),
        cpu_model=_cpu_model(),
    )


def best_instruction_set() -> str:
    """The widest instruction set that this machine has."""
    if _architecture() == "aarch64":
        return "aarch64"
    present = host_features()
    return next((name for name in ("avx512", "avx2") if present.issuperset(INSTRUCTION_SETS[name])), "baseline")


@cache
def host_features() -> frozenset[str]:
    """What this machine's processor has, in the names of the Linux kernel; on other systems only what is certain."""
    flags = _cpu_fields().get("flags") or _cpu_fields().get("Features") or ""
    certain = ("asimd",) if _architecture() == "aarch64" else ()
    return frozenset((*flags.split(), *certain))


def check(stamp: MachineStamp, host: MachineStamp | None = None) -> None:
    """Refuse a plan that cannot run on a host, by default this machine.

    A plan tuned for another processor with the same features runs, perhaps slower: that is only a warning.

    Raises:
        PlanError: version, operating system, architecture or features differ; the message names both sides.
    """
    features = host_features() if host is None else frozenset(host.features)
    host = host_stamp() if host is None else host
    for what, found, expected in (
        ("version of tensorwright", stamp.package_version, host.package_version),
        ("operating system", stamp.operating_system, host.operating_system),
        ("processor architecture", stamp.architecture, host.architecture),
    ):
        if found != expected:
            raise PlanError(f"the plan was built for the {what} {found}, this is {expected}; build it again here")
    missing = [feature for feature in stamp.features if feature not in features]
    if missing:
        raise PlanError(
            f"the plan was built for the instruction set {stamp.instruction_set} on {stamp.cpu_model}; this processor, "
            f"{host.cpu_model}, lacks {', '.join(missing)}; build it again here or for '{host.instruction_set}'"
        )
    if stamp.cpu_model != host.cpu_model:
        warnings.warn(
            f"the plan was tuned on {stamp.cpu_model}, this is {host.cpu_model}: it runs, but other kernels may "
            "be faster here; build it again to find out",
            RuntimeWarning,
            stacklevel=2,
        )


def _system() -> str:
    return os.uname().sysname if hasattr(os, "uname") else "windows"


def _architecture() -> str:
    machine = (os.uname().machine if hasattr(os, "uname") else os.environ.get("PROCESSOR_ARCHITECTURE", "")).lower()
    return {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def _cpu_model() -> str:
    fields = _cpu_fields()
    arm = [fields[key] for key in ("CPU implementer", "CPU part", "CPU variant") if key in fields]
    return fields.get("model name") or " ".join(arm) or "an unknown processor"


@cache
def _cpu_fields() -> dict[str, str]:
    """The first processor of /proc/cpuinfo, nothing on systems that have none."""
    try:
        with open("/proc/cpuinfo", "rb") as file:  # noqa: PTH123 - loading a plan imports as little as it can
            first = file.read(_FIRST_PROCESSOR).decode().split("\n\n")[0]
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
