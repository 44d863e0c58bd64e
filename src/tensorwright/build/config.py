"""What a user may ask of a build: each option is said here, once."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from tensorwright.base.cancellation import Cancellation
from tensorwright.base.errors import BuildError
from tensorwright.base.options import About, Options
from tensorwright.base.progress import Progress, SilentProgress
from tensorwright.build.profiles import Profiles
from tensorwright.devices.device import Allocator
from tensorwright.plan.limits import MAX_THREADS

MOST_TRIPS = 10_000_000
"""Minutes at the least: a program that comes here has no end."""
LIBRARIES = ("cublas", "cudnn")
PRECISIONS = ("fp32", "bf16", "fp16", "int8")


def ignore(severity: str, message: str) -> None:
    """A log that nobody reads."""


@dataclass(frozen=True, kw_only=True)
class BuildOptions(Options):
    """What a user may ask of a build, in Python and in the shell."""

    precision: Annotated[
        Collection[str],
        About(
            'element types that may be used beside float32: "bf16", "fp16" or both, where a layer makes the network '
            'faster in one, conversions included; "int8" for products of tensors whose ranges a calibrator tells. '
            "Inputs and outputs keep their types; models that have narrower types or quantised tensors themselves need "
            "no permission.",
            among=PRECISIONS,
            help="An element type that may be used beside float32: bf16, fp16 or int8. May be repeated.",
        ),
    ] = ()
    layer_precision: Annotated[
        Mapping[str, str] | None,
        About(
            "layers that are held to a type, fp32, bf16 or fp16, by their names or patterns of them such as "
            '"encoder.0.*"; of several the first that fits counts.',
            help="PATTERN=TYPE: layers that are held to fp32, bf16 or fp16; @FILE for JSON. May be repeated.",
        ),
    ] = None
    profiles: Annotated[
        Profiles,
        About(
            'several ranges for the variable dimensions of the network, such as ``[{"batch": 1}, {"batch": (2, 8, '
            "32)}]``: the plan holds code tuned for each, and weights once; an inference runs that of the profiles "
            "that its shapes fit which is tuned for the nearest sizes. Dimensions that a profile does not name keep "
            "their range. Empty for one profile of the network's own ranges.",
            spelt=("--optimization-profile",),
            help="NAME=D or NAME=MIN:OPT:MAX,...: code for a range of variable dimensions. Repeat for several.",
        ),
    ] = ()
    caches_in_place: Annotated[
        bool,
        About(
            "whether inputs that the network only adds rows to, and that an output continues, such as a decoder's "
            "keys and values, have room for as many rows as there may be at most, and so have these outputs: then "
            "both may be the same memory, in which an inference writes the new rows alone. So may be an input and an "
            "output that is that input with other rows (TensorScatter), which nothing else may read then.",
            help="Give caches of keys and values room for all rows, so that only new ones are written.",
        ),
    ] = False
    max_workspace_size: Annotated[
        int | None,
        About(
            "scratch bytes that any one layer may use in all threads together; None for no limit.",
            least=0,
            spelt=("--workspace",),
            help="Scratch memory that any layer may use, such as 64M.",
        ),
    ] = None
    threads: Annotated[
        int | None,
        About(
            "how many threads the engine uses; None for all cores that this process may use.",
            least=1,
            most=MAX_THREADS,
            help="Threads of an inference; all cores by default.",
        ),
    ] = None
    level: Annotated[
        int,
        About(
            "tuning effort, 0 (no timing, heuristics only) to 5 (every configuration is timed).",
            least=0,
            most=5,
            help="Tuning effort: 0 times nothing, 5 every configuration.",
        ),
    ] = 3
    timing_cache: Annotated[
        str | os.PathLike[str] | None,
        About(
            'file that remembers timings between builds; None for the user\'s cache folder, "" for none.',
            help="File that remembers timings; in the user's cache folder by default.",
        ),
    ] = None
    instruction_set: Annotated[
        str | None,
        About(
            'what code for CPUs may use, such as "avx512" or "baseline" (the error for an unknown name lists all), '
            "which this machine need not have at level 0; None for the best here.",
            help="What code for CPUs may use, such as avx512 or baseline; the best here by default.",
        ),
    ] = None
    target: Annotated[
        str | None,
        About(
            "what code is generated for: an instruction set of CPUs (`instruction_set` says the same), or an "
            'architecture of GPUs, such as "sm_90", which this machine need not have at level 0; None for the best of '
            "this machine.",
            help="An instruction set, or an architecture of GPUs such as sm_90; the best here by default.",
        ),
    ] = None
    device: Annotated[
        str,
        About(
            'what the plan is to run on: "cpu", "cuda" (an NVIDIA GPU; "cuda:1" for the second one), or "null", which '
            "evaluates by reference.",
            help="What the plan is to run on: cpu, cuda (cuda:1), or null, which evaluates by reference.",
        ),
    ] = "cpu"
    compatible: Annotated[
        bool,
        About(
            "whether GPUs that are newer than the target run the plan, too: it keeps the PTX of its kernels beside the "
            "machine code, and such a GPU's driver compiles that when the plan is loaded. Kernels use nothing that "
            "newer GPUs lack, so that the plan may be slower on its own target, on sm_90 in particular. For CPUs "
            "`instruction_set` says what a plan needs.",
            help="Keep PTX, so that GPUs newer than the target run the plan, too; kernels use what all of them have.",
        ),
    ] = False
    libraries: Annotated[
        Collection[str],
        About(
            'libraries of NVIDIA that steps of a plan for a GPU may call where that is faster: "cublas" (cuBLASLt) for '
            'products, "cudnn" for convolutions. They have to be installed here and, in the same version, wherever the '
            "plan is loaded. Without effect at level 0, for GPUs that are not here, in compatible plans, and for CPUs.",
            among=LIBRARIES,
            help="A library that a GPU's plan may call where that is faster: cublas or cudnn. May be repeated.",
        ),
    ] = ()
    fast_algorithms: Annotated[
        bool,
        About(
            "whether algorithms that need fewer operations and round differently may be used (Winograd, Strassen, sums "
            "of float16 in float16). Each is admitted only while its measured relative error stays below 1e-4, which "
            "the plan's report states, or, in narrower types, what they round. "
            "At level 0 nothing is measured; for normally distributed data their errors are below 2e-5.",
            help="Algorithms that need fewer operations and round differently.",
        ),
    ] = True
    strict_nans: Annotated[
        bool,
        About(
            "whether infinities, NaN and numbers that are too large reach only the outputs that are defined by them. "
            "Winograd's and Strassen's algorithms spread them over the tile or block in which they occur, and are not "
            "used then.",
            help="Keep infinities and NaN where they belong: no algorithms that spread them over a tile.",
        ),
    ] = False
    tf32: Annotated[
        bool,
        About(
            "whether products and convolutions of float32 may read their factors as TF32, with 10 bits of a mantissa, "
            "and add up in float32: several times as fast on the tensor cores of NVIDIA GPUs, with errors near 5e-4 "
            "instead of 1e-6 of the largest result. Without effect elsewhere.",
            help="Read factors of float32 products with 10 bits of a mantissa, on NVIDIA GPUs.",
        ),
    ] = False
    check_indices: Annotated[
        str,
        About(
            'whether an inference refuses indices that lie outside their axis, in gathers and scatters: "always", '
            '"never", or "cheap", where all checks are expected to take less than 1 % of it. Without, such indices are '
            "taken for the nearest that exist. On devices with memory of their own, calls on NumPy arrays are checked, "
            "calls on arrays that lie there and on raw addresses are not.",
            among=("cheap", "always", "never"),
            help="Refuse indices outside their axis: cheap (where that takes less than 1 %), always, never.",
        ),
    ] = "cheap"
    exclude_tactics: Annotated[
        Collection[str],
        About(
            "names of tactics, as `tensorwright inspect` shows them, that are not to be used: to find out what one "
            'brings, or which one causes a difference. All but "generic" may be excluded.',
            spelt=("--exclude-tactic",),
            help="A tactic not to be used, by name. May be repeated.",
        ),
    ] = ()
    max_model_size: Annotated[
        int | None,
        About(
            "bytes that a model may have, as a file and as constants; None for no limit. A file that is larger is not "
            "read.",
            least=0,
            help="Bytes that a model may have, such as 500M.",
        ),
    ] = None
    max_memory: Annotated[
        int | None,
        About(
            "bytes that weights, activations and scratch memory of one context may take together, and tensors on the "
            "host where the engine runs in stages; None for no limit.",
            least=0,
            help="Memory that the engine may need with one context, such as 2G.",
        ),
    ] = None
    max_seconds: Annotated[
        int | None,
        About(
            "seconds that the build may take; it ends at the first step after that, which is one kernel compiled or "
            "one layer timed. None for no limit.",
            least=1,
            help="Seconds that the build may take.",
        ),
    ] = None
    max_trips: Annotated[
        int | None,
        About(
            "trips that all loops of one call may take together where the engine runs in stages and their ends follow "
            "from data; None for no limit.",
            least=0,
            help=None,
        ),
    ] = MOST_TRIPS
    max_call_seconds: Annotated[
        int | None,
        About(
            "seconds that one call may take where the engine runs in stages; it ends at the first node, trip or part "
            "after that. None for no limit.",
            least=1,
            help=None,
        ),
    ] = None
    cancellation: Annotated[
        Cancellation | None,
        About("an object whose method `cancel`, called on any thread, ends the build at its next step.", help=None),
    ] = None
    allocator: Annotated[
        Allocator | None,
        About("gives all device memory of the build and the engine; None for the package's own.", help=None),
    ] = None
    dump: Annotated[
        str | os.PathLike[str] | None,
        About(
            "folder that every stage of the build is written to as text; see `tensorwright.build.dump`.",
            help="Folder that every stage of the build is written to as text.",
        ),
    ] = None
    dump_code: Annotated[
        bool, About("whether the code of every kernel is written there, too.", help="With the code of every kernel.")
    ] = False
    stop_after: Annotated[
        str | None,
        About(
            'name of a pass, such as "fold_constants", with whose first run rewriting ends; "NAME:3" for its third.',
            help="A pass with whose first run rewriting ends; NAME:3 for its third.",
        ),
    ] = None
    max_rewrites: Annotated[
        int | None,
        About(
            "so many rewrites of the graph are made, no more: to find a wrong one by halving.",
            least=0,
            help="So many rewrites of the graph are made, no more.",
        ),
    ] = None
    check_rewrites: Annotated[
        bool,
        About(
            "whether the network is computed with random inputs before and after each pass; the build ends with an "
            "error that names the rewrite that changes the results. Slow.",
            help="Compute the network before and after each pass, and name a rewrite that changes the results.",
        ),
    ] = False
    check_plan: Annotated[
        bool,
        About(
            "whether the build proves, independently of what planned it, that the program computes what the network "
            "says on any number of threads; the build ends with an error if it does not. The environment variable "
            "TENSORWRIGHT_CHECK_PLAN=1 asks for it, too.",
            help="Prove that the plan computes what the network says on any number of threads.",
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class BuildConfig(BuildOptions):
    """A build with all that it needs to know.

    optimise: whether graph rewrites and fusion run; off for debugging.
    log: called with (severity name, message).
    batch_symbol: the name of the implicit batch dimension, for networks that have one.
    """

    optimise: bool = True
    progress: Progress = field(default_factory=SilentProgress)
    log: Callable[[str, str], None] = ignore
    batch_symbol: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target and self.instruction_set and self.target != self.instruction_set:
            raise BuildError(f"target is '{self.target}' and instruction_set '{self.instruction_set}'; say one of them")

    @property
    def wanted_target(self) -> str | None:
        """What code is generated for; None for the best of this machine."""
        return self.target or self.instruction_set

    @property
    def checks_plan(self) -> bool:
        """Whether the program is checked, because of the option or of the environment."""
        return self.check_plan or os.environ.get("TENSORWRIGHT_CHECK_PLAN") == "1"
