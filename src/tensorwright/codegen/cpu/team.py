"""How the threads of a team share an inference: the parts of the native entry that are the same for all networks.

Every thread has a share of the tasks of each step, the same one in every inference. A thread does its share of a group
of steps in a row, then all wait for each other. The groups of all inferences are counted by the generation. Before its
share of a group a thread claims it: the claim of a share is the number of the generation that it is open for, and
whoever raises it by one, in one atomic operation, does the share. A thread that has waited for a microsecond claims
what is still open, so that an inference never waits for a thread that has not begun: one that is asleep, or has no core
because another process took it. A thread that comes late finds its shares claimed and the generation changed, and
hurries on.

A step may have waves: it is a group of its own then, which comes again as often, as if it were so many groups.

The generation changes when all shares of its group are done, so a claim that succeeds is always for the group, and the
inference, that is running.

A thread that waits first spins for a bounded number of rounds, giving its core away now and then in case the thread
that it waits for has none, then sleeps on a futex until the awaited counter changes; whoever changes a counter wakes
sleepers only if there are any.
"""

from __future__ import annotations

from tensorwright.codegen.target import Target
from tensorwright.devices.cpu import abi

SPIN_ROUNDS = 64
"""Rounds of the spinning wait before others' shares are claimed, and again before the core is given away, a power of
two: about a microsecond.
"""
YIELDS = 96
"""How often the core is given away, for nothing if nobody wants it, before the thread sleeps: about 0.1 ms."""

_FUTEX = {"x86_64": 202, "aarch64": 98}
_YIELD = {"x86_64": 24, "aarch64": 124}
_PAUSE = {
    "x86_64": ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"),
    "aarch64": ("declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)"),
}
_CONTEXT = {name: abi.field_offset(name) for name in abi.CONTEXT_FIELDS}


def team_functions(target: Target, steps: int) -> str:
    """Waiting, claiming and going through the groups.

    They call ``void @step(ptr context, i64 share, i64 threads, i64 number, i64 wave)``, which does a share of a wave
    of a step; ``i64 @following(i64 step, i64 threads)``, which returns the step that the group after that of a first
    step starts with; and ``i64 @waves(ptr context, i64 step)``, which returns how often the group that starts with a
    step comes. steps: how many there are.
    """
    architecture = target.triple.split("-")[0]
    declaration, pause = _PAUSE[architecture]
    return "\n".join(
        [
            declaration,
            _profile(),
            _system(),
            _await_change(pause, _YIELD[architecture], _FUTEX[architecture]),
            _change(_FUTEX[architecture]),
            _claim(),
            _do_share(),
            _await_group(pause),
            _team_body(steps),
        ]
    )


def _team(name: str = "team") -> str:
    """Loads the address of the team's counters."""
    return f"""%{name}.place = getelementptr i8, ptr %context, i64 {_CONTEXT["team"]}
  %{name} = load ptr, ptr %{name}.place, align 8"""


def _profile() -> str:
    """Marks the time; what counts is when the last share of a step is done."""
    return f"""
declare i64 @llvm.readcyclecounter()

define internal void @profile(ptr %context, i64 %step) alwaysinline nounwind {{
entry:
  %place = getelementptr i8, ptr %context, i64 {_CONTEXT["profile"]}
  %table = load ptr, ptr %place, align 8
  %none = icmp eq ptr %table, null
  br i1 %none, label %done, label %record
record:
  %now = call i64 @llvm.readcyclecounter()
  %slot = getelementptr i64, ptr %table, i64 %step
  %before = atomicrmw umax ptr %slot, i64 %now monotonic
  br label %done
done:
  ret void
}}
"""


def _system() -> str:
    arguments = "i64 %number, ptr %counter, i64 %operation, i64 %value, ptr null, ptr null, i64 0"
    return f"""
define internal i64 @system(ptr %context, i64 %number, ptr %counter, i64 %operation, i64 %value) nounwind noinline {{
entry:
  %place = getelementptr i8, ptr %context, i64 {_CONTEXT["syscall"]}
  %function = load ptr, ptr %place, align 8
  %missing = icmp eq ptr %function, null
  br i1 %missing, label %done, label %ask
ask:
  %answer = call i64 (i64, ...) %function({arguments})
  br label %done
done:
  %result = phi i64 [ 0, %entry ], [ %answer, %ask ]
  ret i64 %result
}}
"""


def _await_change(pause: str, give_away: int, futex: int) -> str:
    """Waits until a counter is no longer `old`."""
    return f"""
define internal void @await_change(ptr %context, ptr %counter, i32 %old) nounwind noinline {{
entry:
  br label %spin
spin:
  %round = phi i32 [ 0, %entry ], [ %next, %again ], [ %next, %give ]
  %seen = load atomic i32, ptr %counter acquire, align 4
  %changed = icmp ne i32 %seen, %old
  br i1 %changed, label %done, label %again
again:
  {pause}
  %next = add i32 %round, 1
  %part = and i32 %next, {SPIN_ROUNDS - 1}
  %patient = icmp ne i32 %part, 0
  br i1 %patient, label %spin, label %give
give:
  %ignored.yield = call i64 @system(ptr %context, i64 {give_away}, ptr null, i64 0, i64 0)
  %few = icmp ult i32 %next, {SPIN_ROUNDS * YIELDS}
  br i1 %few, label %spin, label %sleep
sleep:
  {_team()}
  %sleepers = getelementptr i8, ptr %team, i64 {abi.TEAM_SLEEPERS}
  %before = atomicrmw add ptr %sleepers, i32 1 seq_cst, align 4
  %value = zext i32 %old to i64
  %ignored = call i64 @system(ptr %context, i64 {futex}, ptr %counter, i64 128, i64 %value)
  %after = atomicrmw sub ptr %sleepers, i32 1 seq_cst, align 4
  %now = load atomic i32, ptr %counter acquire, align 4
  %woken = icmp ne i32 %now, %old
  br i1 %woken, label %done, label %sleep
done:
  ret void
}}
"""


def _change(futex: int) -> str:
    """Adds one to a counter and wakes who sleeps on it."""
    return f"""
define internal void @change(ptr %context, ptr %counter) nounwind noinline {{
entry:
  %old = atomicrmw add ptr %counter, i32 1 seq_cst, align 4
  {_team()}
  %sleepers.place = getelementptr i8, ptr %team, i64 {abi.TEAM_SLEEPERS}
  %sleepers = load atomic i32, ptr %sleepers.place seq_cst, align 4
  %awake = icmp eq i32 %sleepers, 0
  br i1 %awake, label %done, label %wake
wake:
  %ignored = call i64 @system(ptr %context, i64 {futex}, ptr %counter, i64 129, i64 2147483647)
  br label %done
done:
  ret void
}}
"""


def _claim() -> str:
    """Tries to claim a share of a generation; tells whether it succeeded."""
    return f"""
define internal i1 @claim(ptr %team, i64 %share, i32 %generation) alwaysinline nounwind {{
entry:
  %claims = getelementptr i8, ptr %team, i64 {abi.TEAM_CLAIMS}
  %offset = mul i64 %share, {abi.CLAIM_BYTES}
  %place = getelementptr i8, ptr %claims, i64 %offset
  %seen = load atomic i32, ptr %place monotonic, align 4
  %open = icmp eq i32 %seen, %generation
  br i1 %open, label %try, label %done
try:
  %next = add i32 %generation, 1
  %pair = cmpxchg ptr %place, i32 %generation, i32 %next seq_cst acquire, align 4
  %swapped = extractvalue {{ i32, i1 }} %pair, 1
  br label %done
done:
  %result = phi i1 [ false, %entry ], [ %swapped, %try ]
  ret i1 %result
}}
"""


def _do_share() -> str:
    """Does a claimed share of the steps from `begin` up to `end`; the last share of all opens the next generation."""
    arguments = "ptr %context, ptr %team, i64 %share, i64 %threads, i64 %begin, i64 %end, i64 %wave"
    return f"""
define internal void @do_share({arguments})
    nounwind noinline align 64 {{
entry:
  br label %next
next:
  %number = phi i64 [ %begin, %entry ], [ %after, %next ]
  call void @step(ptr %context, i64 %share, i64 %threads, i64 %number, i64 %wave)
  %after = add i64 %number, 1
  %more = icmp ult i64 %after, %end
  br i1 %more, label %next, label %finish
finish:
  %arrived = getelementptr i8, ptr %team, i64 {abi.TEAM_ARRIVED}
  %before = atomicrmw add ptr %arrived, i32 1 acq_rel, align 4
  %mine = add i32 %before, 1
  %all = trunc i64 %threads to i32
  %last = icmp eq i32 %mine, %all
  br i1 %last, label %open, label %done
open:
  store atomic i32 0, ptr %arrived monotonic, align 4
  %generation = getelementptr i8, ptr %team, i64 {abi.TEAM_GENERATION}
  call void @change(ptr %context, ptr %generation)
  br label %done
done:
  ret void
}}
"""


def _await_group(pause: str) -> str:
    """Waits for the end of a generation; after a while, does the shares that nobody has claimed."""
    arguments = "ptr %context, ptr %team, i64 %threads, i64 %begin, i64 %end, i64 %wave, i32 %generation"
    return f"""
define internal void @await_group({arguments}) nounwind noinline align 64 {{
entry:
  %current = getelementptr i8, ptr %team, i64 {abi.TEAM_GENERATION}
  br label %spin
spin:
  %round = phi i32 [ 0, %entry ], [ %next, %again ]
  %seen = load atomic i32, ptr %current acquire, align 4
  %changed = icmp ne i32 %seen, %generation
  br i1 %changed, label %done, label %again
again:
  {pause}
  %next = add i32 %round, 1
  %patient = icmp ult i32 %next, {SPIN_ROUNDS}
  br i1 %patient, label %spin, label %look
look:
  %share = phi i64 [ 0, %again ], [ %following, %looked ]
  %claimed = call i1 @claim(ptr %team, i64 %share, i32 %generation)
  br i1 %claimed, label %help, label %looked
help:
  call void @do_share(ptr %context, ptr %team, i64 %share, i64 %threads, i64 %begin, i64 %end, i64 %wave)
  br label %looked
looked:
  %following = add i64 %share, 1
  %more = icmp ult i64 %following, %threads
  br i1 %more, label %look, label %wait
wait:
  call void @await_change(ptr %context, ptr %current, i32 %generation)
  br label %done
done:
  ret void
}}
"""


def _team_body(steps: int) -> str:
    """One thread's way through an inference, which starts with the generation `first`."""
    arguments = "ptr %context, ptr %team, i64 %threads, i64 %begin, i64 %end, i64 %wave, i32 %generation"
    return f"""
define internal void @team_body(ptr %context, i64 %thread, i64 %threads, i32 %first) nounwind noinline {{
entry:
  {_team()}
  br label %group
group:
  %begin = phi i64 [ 0, %entry ], [ %next.begin, %wait ]
  %wave = phi i64 [ 0, %entry ], [ %next.wave, %wait ]
  %generation = phi i32 [ %first, %entry ], [ %next, %wait ]
  %end = call i64 @following(i64 %begin, i64 %threads)
  %claimed = call i1 @claim(ptr %team, i64 %thread, i32 %generation)
  br i1 %claimed, label %work, label %wait
work:
  call void @do_share(ptr %context, ptr %team, i64 %thread, i64 %threads, i64 %begin, i64 %end, i64 %wave)
  br label %wait
wait:
  call void @await_group({arguments})
  %next = add i32 %generation, 1
  %waves = call i64 @waves(ptr %context, i64 %begin)
  %after = add i64 %wave, 1
  %again = icmp ult i64 %after, %waves
  %next.begin = select i1 %again, i64 %begin, i64 %end
  %next.wave = select i1 %again, i64 %after, i64 0
  %more = icmp ult i64 %next.begin, {steps}
  br i1 %more, label %group, label %done
done:
  ret void
}}
"""


def entries() -> str:
    """`run`, `worker` and `stop`; see `tensorwright.devices.cpu.abi`."""
    return f"""
define void @run(ptr %context) nounwind {{
entry:
  %threads.place = getelementptr i8, ptr %context, i64 {_CONTEXT["threads"]}
  %threads = load i64, ptr %threads.place, align 8
  %single = icmp eq i64 %threads, 1
  br i1 %single, label %alone, label %together
alone:
  call void @single_body(ptr %context)
  ret void
together:
  {_team()}
  %generation = getelementptr i8, ptr %team, i64 {abi.TEAM_GENERATION}
  %now = load atomic i32, ptr %generation acquire, align 4
  %first = getelementptr i8, ptr %team, i64 {abi.TEAM_FIRST}
  store atomic i32 %now, ptr %first release, align 4
  %wake = getelementptr i8, ptr %team, i64 {abi.TEAM_WAKE}
  call void @change(ptr %context, ptr %wake)
  call void @profile(ptr %context, i64 0)
  call void @team_body(ptr %context, i64 0, i64 %threads, i32 %now)
  ret void
}}

define void @worker(ptr %context, i64 %thread) nounwind {{
entry:
  %threads.place = getelementptr i8, ptr %context, i64 {_CONTEXT["threads"]}
  %threads = load i64, ptr %threads.place, align 8
  {_team()}
  %wake = getelementptr i8, ptr %team, i64 {abi.TEAM_WAKE}
  %first.place = getelementptr i8, ptr %team, i64 {abi.TEAM_FIRST}
  %stop = getelementptr i8, ptr %team, i64 {abi.TEAM_STOP}
  %ready = getelementptr i8, ptr %team, i64 {abi.TEAM_READY}
  %start = load atomic i32, ptr %wake acquire, align 4
  %count = atomicrmw add ptr %ready, i32 1 seq_cst, align 4
  br label %wait
wait:
  %seen = phi i32 [ %start, %entry ], [ %current, %work ]
  call void @await_change(ptr %context, ptr %wake, i32 %seen)
  %current = load atomic i32, ptr %wake acquire, align 4
  %flag = load atomic i32, ptr %stop acquire, align 4
  %stopped = icmp ne i32 %flag, 0
  br i1 %stopped, label %leave, label %work
work:
  %first = load atomic i32, ptr %first.place acquire, align 4
  call void @team_body(ptr %context, i64 %thread, i64 %threads, i32 %first)
  br label %wait
leave:
  ret void
}}

define void @stop(ptr %context) nounwind {{
entry:
  {_team()}
  %stop = getelementptr i8, ptr %team, i64 {abi.TEAM_STOP}
  store atomic i32 1, ptr %stop seq_cst, align 4
  %wake = getelementptr i8, ptr %team, i64 {abi.TEAM_WAKE}
  call void @change(ptr %context, ptr %wake)
  ret void
}}
"""
