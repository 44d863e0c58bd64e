"""This machine: its processor, the instruction sets that it has, and whether it can run a plan."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from functools import cache

import tensorwright
from tensorwright.base.errors import PlanError
from tensorwright.devices.cpu.instruction_sets import INSTRUCTION_SETS
from tensorwright.devices.cpu.permission import refused_tiles
from tensorwright.plan.plan import MachineStamp
from tensorwright.plan.stamp import require_equal

_FIRST_PROCESSOR = 8192
"""Bytes of /proc/cpuinfo that hold its first processor; the system takes long to write about all of them."""


def host_stamp(instruction_set: str | None = None, extensions: Sequence[str] = ()) -> MachineStamp:
    """This machine, as far as code for an instruction set uses it; by default the best one that the machine has.

    extensions: features that the code uses beyond the instruction set, in the names of the Linux kernel.

    Raises:
        PlanError: the instruction set is unknown, or the machine lacks one of its features.
    """
    name = best_instruction_set() if instruction_set is None else instruction_set
    require_runnable(name, extensions)
    return MachineStamp(
        package_version=tensorwright.__version__,
        device="cpu",
        architecture=_architecture(),
        operating_system=_system().lower(),
        target=name,
        features=tuple(sorted({*INSTRUCTION_SETS[name].features, *extensions})),
        model=_cpu_model(),
    )


def require_runnable(name: str, extensions: Sequence[str] = ()) -> None:
    """Refuse an instruction set, and features beyond it, that this machine cannot run.

    Raises:
        PlanError: the instruction set is unknown, or the machine lacks one of its features.
    """
    if name not in INSTRUCTION_SETS:
        raise PlanError(f"instruction set '{name}' is unknown; expected one of {', '.join(INSTRUCTION_SETS)}")
    missing = lacking(name, extensions)
    if missing:
        features = sorted({*INSTRUCTION_SETS[name].features, *extensions})
        raise PlanError(
            f"instruction set '{name}' needs {', '.join(features) or 'an x86-64 processor'}; this machine "
            f"({_architecture()}, {_cpu_model()}) lacks {missing}; choose '{best_instruction_set()}'"
        )


def lacking(name: str, extensions: Sequence[str] = ()) -> str:
    """What this machine lacks of what an instruction set, and features beyond it, need; empty if it has all."""
    known = INSTRUCTION_SETS[name]
    if known.architecture != _architecture():
        return f"an {known.architecture} processor"
    return _named([feature for feature in sorted({*known.features, *extensions}) if feature not in host_features()])


def stamp_elsewhere(instruction_set: str) -> MachineStamp:
    """Any Linux machine with a known instruction set, for code that this machine cannot run."""
    known = INSTRUCTION_SETS[instruction_set]
    return MachineStamp(
        package_version=tensorwright.__version__,
        device="cpu",
        architecture=known.architecture,
        operating_system="linux",
        target=known.name,
        features=tuple(sorted(known.features)),
        model="no processor",
    )


def runnable_instruction_sets() -> tuple[str, ...]:
    """Those that this machine has, the best first."""
    present, here = host_features(), _architecture()
    fitting = (known for known in INSTRUCTION_SETS.values() if known.architecture == here)
    return tuple(known.name for known in fitting if present.issuperset(known.features))


def best_instruction_set() -> str:
    """The widest instruction set that this machine has.

    Raises:
        PlanError: the processor is of a family that none is for.
    """
    found = runnable_instruction_sets()
    if not found:
        families = sorted({known.architecture for known in INSTRUCTION_SETS.values()})
        raise PlanError(f"this processor ({_architecture()}) is not supported; expected one of {', '.join(families)}")
    return found[0]


@cache
def host_features() -> frozenset[str]:
    """What this process may use of this machine's processor, in the names of the Linux kernel; on other systems only
    what is certain.
    """
    return processor_features() - refused_features()


def refused_features() -> frozenset[str]:
    """What the processor has, and the system does not permit this process to use."""
    return refused_tiles(processor_features())


@cache
def processor_features() -> frozenset[str]:
    """What this machine's processor has, whether this process may use it or not."""
    flags = _cpu_fields().get("flags") or _cpu_fields().get("Features") or ""
    certain = ("asimd",) if _architecture() == "aarch64" else ()
    return frozenset((*flags.split(), *certain))


def _named(missing: Sequence[str]) -> str:
    """Features that are missing, and why, if the processor has them."""
    names, refused = ", ".join(missing), refused_features().intersection(missing)
    return (
        f"{names} (the processor has them, but the system does not permit this process to use them)"
        if refused
        else names
    )


def check(stamp: MachineStamp, host: MachineStamp | None = None) -> None:
    """Refuse a plan that cannot run on a host, by default this machine.

    A plan tuned for another processor with the same features runs, perhaps slower: that is only a warning.

    Raises:
        PlanError: version, operating system, architecture or features differ; the message names both sides.
    """
    features = host_features() if host is None else frozenset(host.features)
    host = host_stamp() if host is None else host
    require_equal(stamp, host)
    missing = [feature for feature in stamp.features if feature not in features]
    if missing:
        raise PlanError(
            f"the plan was built for the instruction set {stamp.target} on {stamp.model}; this processor, "
            f"{host.model}, lacks {_named(missing)}; build it again here or for '{host.target}'"
        )
    if stamp.model != host.model:
        warnings.warn(
            f"the plan was tuned on {stamp.model}, this is {host.model}: it runs, but other kernels may "
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
