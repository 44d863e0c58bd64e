"""How an input of a seed is judged, and a bad one made smaller."""

from __future__ import annotations

import resource
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from fuzzing.taking import Difference, TooLarge
from fuzzing.targets import Target
from networks.checking import Verdict, foreign
from networks.isolation import Ended, isolated
from tensorwright.base.errors import ExecutionError, TensorwrightError

SECONDS = 10.0
"""Of the processor: others may use it at the same time."""
PATIENCE = 60.0
"""Seconds until a process ends that does nothing."""
MEMORY = 2 << 30
"""Bytes beyond those of the modules and of earlier inputs, for inputs below a megabyte."""
ADDRESSES = 16 << 30
"""Bytes of addresses, of which every thread takes some that it never uses."""
DEFECTS = ("a defect of tensorwright", "takes more memory than there is", "MemoryError")
"""Errors of the project that none of its inputs may cause here, unless what a model computes is too large itself."""


class TooLong(BaseException):
    """An input takes more than its time."""


def limit_memory() -> None:
    """Let this process use no more memory than it does now and what one input may take."""
    with open("/proc/self/statm") as file:  # noqa: PTH123  # No file of which a path would say more.
        pages = [int(word) for word in file.read().split()]
    for limit, held, more in ((resource.RLIMIT_DATA, pages[5], MEMORY), (resource.RLIMIT_AS, pages[0], ADDRESSES)):
        resource.setrlimit(limit, (held * resource.getpagesize() + more, resource.getrlimit(limit)[1]))


def judge(target: Target, data: bytes, seed: int) -> Verdict:
    """What the project makes of an input: "equal" if it is accepted and nothing was found to be wrong."""
    rng = np.random.default_rng([seed, 78])
    compared = 0
    try:
        with _limited(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compared = target.take(data, rng)
        verdict = Verdict("equal", "", compared)
    except TensorwrightError as error:
        is_defect = any(text in str(error) for text in DEFECTS) and not isinstance(error, ExecutionError | TooLarge)
        verdict = Verdict("failed" if is_defect else "refused", f"{type(error).__name__}: {error}")
    except Difference as error:
        verdict = Verdict("different", str(error))
    except TooLong as error:
        verdict = Verdict("failed", foreign(error))
    except Exception as error:  # noqa: BLE001  # Whatever it is, it is a defect to report.
        verdict = Verdict("failed", foreign(error))
    words = {"equal": f"accepted{', compared' if compared else ''}", "refused": "refused"}
    remark = f"{target.name}: {words.get(verdict.outcome, 'FINDING')}"
    detail = f"{target.name}: {verdict.detail}" if verdict.is_bad else _class_of(verdict.detail)
    return Verdict(verdict.outcome, detail, compared, remark)


def _class_of(detail: str) -> str:
    """Of refusals only the class is counted: there are as many messages as inputs."""
    return detail.partition(":")[0]


@contextmanager
def _limited() -> Iterator[None]:
    def end(*_: object) -> None:
        raise TooLong(f"more than {SECONDS:g} seconds")

    before = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def judge_apart(target: Target, data: bytes, seed: int) -> Verdict:
    """The same by a process of its own, which may crash."""

    def limited() -> Verdict:
        limit_memory()
        return judge(target, data, seed)

    try:
        return isolated(limited, PATIENCE)
    except Ended as error:
        return Verdict("failed", f"{target.name}: {error}", 0, f"{target.name}: FINDING")


def shrink(target: Target, data: bytes, is_bad: Callable[[bytes], bool], seconds: float) -> bytes:
    """The smallest input found in a time that is still bad in the same way."""
    deadline = time.monotonic() + seconds
    found = True
    while found:
        found = False
        for candidate in target.less(data):
            if time.monotonic() > deadline:
                return data
            if len(candidate) < len(data) and is_bad(candidate):
                data, found = candidate, True
                break
    return data
