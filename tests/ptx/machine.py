"""Executes a kernel: threads at the lowest instruction go first, until all have returned."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import numpy.typing as npt

from ptx import numbers as num
from ptx.asynchronous import PIECE_BYTES, STEP_BYTES, WARPGROUP, Copies, Products, tile_places
from ptx.memory import GlobalMemory, Race, SharedMemory
from ptx.ordering import Barriers, Order, OrderedMemory
from ptx.parse import Instruction, Kernel
from ptx.tensor_maps import box_of, box_places
from tensorwright.devices.cuda.tensor_map import MAP_BYTES, PlacedMap

WARP = 32
POISON = 0xBAD0BAD0FFC0DEAD
"""What a register holds that nothing has written; as a float it is not a number."""
RANK_BITS = 32
"""Addresses in the shared memory of a cluster have the number of the block, plus 1, above these bits."""

Index = npt.NDArray[np.int64]
RUNNING, AT_BARRIER, AT_CLUSTER, DONE, AT_PHASE, AT_SOME, AT_WARP = range(7)
OF_WARPS = frozenset({"shfl", "mma", "ldmatrix", "movmatrix"})
"""Instructions at which the threads of a warp wait for each other."""
MAPS = 1 << 40
"""Where tensor maps, which no program reads, seem to lie."""


class Stuck(Exception):
    """Threads wait for others that never come, or a warp's instruction is executed by a part of the warp."""


@dataclass(frozen=True)
class Grid:
    """blocks along x, y and z; threads of each; cluster: blocks along z that form one."""

    blocks: tuple[int, int, int]
    threads: int
    cluster: int = 1
    shared_bytes: int = 0


def _are_warps(threads: Index) -> bool:
    """Whether threads, in order, are those of whole warps."""
    rows = threads.reshape(-1, WARP) if len(threads) % WARP == 0 else np.zeros((0, WARP), np.int64)
    return len(rows) > 0 and not (rows != rows[:, :1] + np.arange(WARP)).any() and not (rows[:, 0] % WARP).any()


class Machine:
    """One run of a kernel. arguments: 64 bits each; maps: the tensor maps that follow them."""

    def __init__(
        self,
        kernel: Kernel,
        grid: Grid,
        memory: GlobalMemory,
        arguments: Sequence[int],
        maps: Sequence[PlacedMap] = (),
    ) -> None:
        x, y, z = grid.blocks
        self._kernel, self._grid, self._memory = kernel, grid, memory
        count, self._threads = x * y * z, x * y * z * grid.threads
        self._block = np.repeat(np.arange(count), grid.threads)
        self._special = {
            "%tid.x": np.tile(np.arange(grid.threads), count),
            "%ctaid.x": self._block % x, "%ctaid.y": self._block // x % y, "%ctaid.z": self._block // (x * y),
        }  # fmt: skip
        self._plane = x * y
        self._names = {
            name: memory.place(np.frombuffer(content, np.uint8)) for name, content in kernel.constants.items()
        }
        offset = 0
        for name, size in kernel.shared.items():
            self._names[name], offset = offset, -(-(offset + size) // 16) * 16
        self._names.update((name, offset) for name in kernel.dynamic)
        self._order = Order(count, -(-grid.threads // WARP))
        self._shared = SharedMemory(count, offset + grid.shared_bytes)
        if any(instruction.parts[0] == "mbarrier" for instruction in kernel.instructions):
            self._shared = OrderedMemory(count, offset + grid.shared_bytes, self._order)
        is_ordered = count == grid.cluster or any(it.parts[0] == "atom" for it in kernel.instructions)
        memory.watch(self._order if is_ordered else None)
        self._barriers = Barriers(self._shared, self._order) if isinstance(self._shared, OrderedMemory) else None
        self._is_ordered = is_ordered or self._barriers is not None
        self._maps = {MAPS + number * MAP_BYTES: placed for number, placed in enumerate(maps)}
        self._copies = Copies(self._shared, np.zeros(self._threads, np.int64))
        self._products = Products(self._shared, np.zeros(self._threads // WARPGROUP + 1, np.int64))
        self._some = 0
        self._arguments = dict(zip(kernel.parameters, [*arguments, *self._maps], strict=True))
        self._names.update((name, address) for name, address in self._arguments.items() if address in self._maps)
        poison = np.full(self._threads, POISON, np.uint64)
        self._registers: dict[str, num.Bits] = dict.fromkeys(kernel.undefined, poison)
        self._at, self._state = np.zeros(self._threads, np.int64), np.full(self._threads, RUNNING)
        self._has_arrived = np.zeros(self._threads, np.bool_)
        self._stops = {*kernel.labels.values(), *(n + 1 for n, i in enumerate(kernel.instructions) if _moves(i))}

    def run(self) -> None:
        """Execute until all threads have returned.

        Raises:
            Race, Stray, Stuck: the kernel is wrong.
        """
        with np.errstate(all="ignore"):
            while (self._state != DONE).any():
                running = self._state == RUNNING
                if not running.any():
                    self._release()
                    continue
                first = self._at[running].min()
                self._execute(np.nonzero(running & (self._at == first))[0], int(first))

    def _execute(self, who: Index, number: int) -> None:
        """From an instruction to the next place where threads may part or meet."""
        while True:
            instruction = self._kernel.instructions[number]
            if instruction.parts[0] in OF_WARPS and not _are_warps(who):
                who = self._whole_warps(number)
                if not len(who):
                    return
            chosen = who
            if instruction.guard is not None:
                holds = self._bits(instruction.guard.lstrip("!"), who, "pred") != 0
                chosen = who[holds != instruction.guard.startswith("!")]
            number += 1
            self._at[who] = number
            if len(chosen):
                self._step(instruction, chosen)
            if number in self._stops:
                return

    def _whole_warps(self, number: int) -> Index:
        """The warps all of whose threads are at an instruction; those of other warps wait there."""
        there = (self._at == number) & ((self._state == RUNNING) | (self._state == AT_WARP))
        warps = np.bincount(np.arange(self._threads) // WARP, there) == WARP
        whole = there & warps.repeat(WARP)[: self._threads]
        self._state[there], self._state[whole] = AT_WARP, RUNNING
        return np.nonzero(whole)[0]

    def _release(self) -> None:
        """Let go of the blocks, and clusters, all of whose threads wait."""
        depth, before = self._plane * self._grid.cluster, (self._state != RUNNING).sum()
        for kind, group, epochs in (
            (AT_BARRIER, self._block, self._shared.epochs),
            (AT_CLUSTER, self._block % self._plane + self._block // depth * self._plane, self._shared.cluster_epochs),
        ):
            waiting = np.bincount(group, self._state == kind)
            whole = np.nonzero(waiting == np.bincount(group))[0]
            freed = np.isin(group, whole) & (self._state == kind)
            self._state[freed] = RUNNING
            blocks = np.unique(self._block[freed])
            for number in whole if self._is_ordered else ():
                self._order.meet(np.unique(self._block[freed & (group == number)]).tolist())
            epochs[blocks] += 1
            self._shared.epochs[blocks] += kind == AT_CLUSTER
        self._release_some()
        if (self._state != RUNNING).sum() == before:
            if (self._state == AT_WARP).any():
                raise Stuck("an instruction of a whole warp is executed by a part of it")
            if (self._state == AT_PHASE).any():
                raise Stuck("threads wait for a barrier's phase that is never complete")
            raise Stuck("threads wait at a barrier for others that have returned or wait elsewhere")

    def _release_some(self) -> None:
        """Let go of those that wait for some threads of their block, if these are there."""
        for block in (
            np.nonzero(np.bincount(self._block, self._state == AT_SOME) == self._some)[0] if self._some else ()
        ):
            freed = np.nonzero((self._block == block) & (self._state == AT_SOME))[0]
            self._order.meet_rows(np.unique(self._order.rows_of(freed)))
            self._state[freed] = RUNNING

    # ---- operands

    def _bits(self, operand: str, who: Index, kind: str) -> num.Bits:
        if operand in self._registers:
            return self._registers[operand][who]
        if operand in self._special:
            return self._special[operand][who].astype(np.uint64)
        if operand.startswith("%"):
            raise AssertionError(f"{operand} is read before it is written")
        value = self._names[operand] if operand in self._names else num.literal(operand, kind)
        return np.full(len(who), value, np.uint64)

    def _get(self, operand: str, who: Index, kind: str) -> num.Numbers:
        return num.numbers(self._bits(operand, who, kind), kind)

    def _set_bits(self, register: str, who: Index, bits: num.Bits) -> None:
        if register not in self._registers:
            self._registers[register] = np.full(self._threads, POISON, np.uint64)
        self._registers[register][who] = bits

    def _set(self, register: str, who: Index, values: num.Numbers, kind: str) -> None:
        self._set_bits(register, who, num.bits_of(values, kind))

    def _address(self, operand: str, who: Index) -> Index:
        base, _, offset = operand.strip("[]").partition("+")
        return self._bits(base, who, "b64").astype(np.int64) + int(offset or 0)

    def _warps(self, who: Index) -> Index:
        """The threads, a row for each warp, all of whose threads have to be there."""
        if not _are_warps(who):
            raise Stuck("an instruction of a whole warp is executed by a part of it")
        return who.reshape(-1, WARP)

    # ---- instructions

    def _step(self, it: Instruction, who: Index) -> None:
        name = it.parts[0]
        if it.parts[-1].endswith("x2") and name != "cvt":
            self._packed(it, who)
            return
        handler = getattr(self, f"_do_{name}", None)
        if handler is not None:
            handler(it, who)
            return
        kind = it.parts[-1]
        if name in ("fma", "add", "sub") and it.parts[-2] == "f32" != kind:
            self._mixed(it, who)
            return
        values = [self._get(operand, who, kind) for operand in it.operands[1:]]
        self._set(it.operands[0], who, _arithmetic(it, kind, values), kind)

    def _mixed(self, it: Instruction, who: Index) -> None:
        """Arithmetic in float32 whose operands but for the last are narrower."""
        *narrow, last = it.operands[1:]
        values = [self._get(operand, who, it.parts[-1]).astype(np.float32) for operand in narrow]
        self._set(it.operands[0], who, _arithmetic(it, "f32", [*values, self._get(last, who, "f32")]), "f32")

    def _packed(self, it: Instruction, who: Index) -> None:
        """Arithmetic on pairs of numbers."""
        kind = it.parts[-1].removesuffix("x2")
        bits, low = num.width(kind), np.uint64((1 << num.width(kind)) - 1)
        pairs = [self._bits(operand, who, "b64") for operand in it.operands[1:]]
        total = np.zeros(len(who), np.uint64)
        for half in range(2):
            shift = np.uint64(bits * half)
            values = [num.numbers(pair >> shift & low, kind) for pair in pairs]
            result = values[0] * values[1] if it.parts[0] == "mul" else _arithmetic(it, kind, values)
            total |= num.bits_of(result, kind) << shift
        self._set_bits(it.operands[0], who, total)

    def _do_ret(self, it: Instruction, who: Index) -> None:
        self._state[who] = DONE

    def _do_bra(self, it: Instruction, who: Index) -> None:
        self._at[who] = self._kernel.labels[it.operands[-1]]

    def _do_brx(self, it: Instruction, who: Index) -> None:
        number, table = it.operands
        targets = [self._kernel.labels[label] for label in self._kernel.tables[table]]
        self._at[who] = np.array(targets)[self._bits(number, who, "u32").astype(np.int64)]

    def _do_bar(self, it: Instruction, who: Index) -> None:
        self._state[who] = AT_BARRIER
        if len(it.operands) > 1:
            self._state[who], self._some = AT_SOME, int(it.operands[1])

    def _do_barrier(self, it: Instruction, who: Index) -> None:
        waits = it.opcode == "barrier.cluster.wait"
        self._has_arrived[who] = not waits
        if waits:
            self._state[who] = AT_CLUSTER

    def _do_griddepcontrol(self, it: Instruction, who: Index) -> None:
        pass

    def _do_prefetch(self, it: Instruction, who: Index) -> None:
        self._memory.require(self._address(it.operands[0], who))

    def _do_ld(self, it: Instruction, who: Index) -> None:
        kind, space = it.parts[-1], it.parts[1]
        if space == "param":
            value = self._arguments[it.operands[1].strip("[]")]
            self._set_bits(it.operands[0], who, np.full(len(who), value & (1 << 64) - 1, np.uint64))
            return
        if "gpu" in it.parts:
            found = self._memory.read_counters(self._address(it.operands[1], who), who, it.parts)
            self._set_bits(it.operands[0], who, found.astype(np.uint64))
            return
        targets = it.operands[0].strip("{}").replace(" ", "").split(",")
        size, at = num.width(kind) // 8, self._address(it.operands[1], who)
        if space.startswith("shared"):
            far = space.endswith("cluster")
            home = (at >> RANK_BITS) - 1 if far else self._block[who]
            raw = self._shared.load(home, at & (1 << RANK_BITS) - 1, size * len(targets), who, far=far)
        else:
            raw = self._memory.load(at, size * len(targets), who)
        words = np.ascontiguousarray(raw).view(num.dtype_of(kind)).reshape(len(who), len(targets))
        for column, target in enumerate(targets):
            wide = words[:, column]
            extended = wide.astype(np.int64).view(np.uint64) if kind[0] == "s" else wide.astype(np.uint64)
            self._set_bits(target, who, extended)

    def _do_atom(self, it: Instruction, who: Index) -> None:
        """``inc``: of counters."""
        if "inc" not in it.parts:
            raise NotImplementedError(it.opcode)
        last, at = self._bits(it.operands[2], who, "u32"), self._address(it.operands[1], who)
        self._set_bits(it.operands[0], who, self._memory.count(at, who, it.parts, last).astype(np.uint64))

    def _do_st(self, it: Instruction, who: Index) -> None:
        kind = it.parts[-1]
        if self._has_arrived[who].any():
            raise Race(
                "a thread stores after it has arrived at a barrier of the cluster and before it has waited there"
            )
        sources = it.operands[1].strip("{}").replace(" ", "").split(",")
        words = np.stack([self._bits(s, who, kind).astype(num.dtype_of(kind)) for s in sources], 1)
        raw, at = np.ascontiguousarray(words).view(np.uint8).reshape(len(who), -1), self._address(it.operands[0], who)
        if it.parts[1] == "shared":
            self._shared.store(self._block[who], at, raw, who)
        else:
            self._memory.store(at, raw, who)

    def _do_mov(self, it: Instruction, who: Index) -> None:
        target, source = it.operands
        if target.startswith("{"):
            low, high = target.strip("{} ").replace(" ", "").split(",")
            half = num.width(it.parts[-1]) // 2
            bits = self._bits(source, who, it.parts[-1])
            self._set_bits(low, who, bits & np.uint64((1 << half) - 1))
            self._set_bits(high, who, bits >> np.uint64(half))
        elif source.startswith("{"):
            parts = source.strip("{} ").replace(" ", "").split(",")
            each = num.width(it.parts[-1]) // len(parts)
            total = np.zeros(len(who), np.uint64)
            for number, part in enumerate(parts):
                total |= (self._bits(part, who, "b32") & np.uint64((1 << each) - 1)) << np.uint64(each * number)
            self._set_bits(target, who, total)
        else:
            self._set_bits(target, who, self._bits(source, who, it.parts[-1]))

    def _do_cvta(self, it: Instruction, who: Index) -> None:
        self._set_bits(it.operands[0], who, self._bits(it.operands[1], who, "b64"))

    def _do_mapa(self, it: Instruction, who: Index) -> None:
        """The block of the cluster whose number along z the operand is."""
        rank = self._bits(it.operands[2], who, "b32").astype(np.int64)
        own = self._special["%ctaid.z"][who] // self._grid.cluster * self._grid.cluster
        block = self._block[who] % self._plane + (own + rank) * self._plane
        at = self._bits(it.operands[1], who, "b64").astype(np.int64)
        self._set_bits(it.operands[0], who, (at | (block + 1) << RANK_BITS).astype(np.uint64))

    def _do_setp(self, it: Instruction, who: Index) -> None:
        kind = it.parts[-1]
        a, b = (self._get(operand, who, kind) for operand in it.operands[1:])
        self._set(it.operands[0], who, num.COMPARISONS[it.parts[1]](a, b), "pred")

    def _do_selp(self, it: Instruction, who: Index) -> None:
        kind = it.parts[-1]
        condition = self._bits(it.operands[3], who, "pred") != 0
        a, b = (self._bits(operand, who, kind) for operand in it.operands[1:3])
        self._set_bits(it.operands[0], who, np.where(condition, a, b))

    def _do_cvt(self, it: Instruction, who: Index) -> None:
        *modifiers, to, source = it.parts[1:]
        if to == "tf32":
            self._set_bits(it.operands[0], who, num.rounded_to_tf32(self._bits(it.operands[1], who, "f32")))
            return
        if to.endswith("x2"):
            pair = [num.bits_of(self._get(o, who, source), to[:-2]) for o in it.operands[1:]]
            self._set_bits(it.operands[0], who, pair[1] | pair[0] << np.uint64(16))
            return
        values = self._get(it.operands[1], who, source)
        for modifier in modifiers:
            values = num.ROUNDINGS[modifier](values) if modifier in num.ROUNDINGS else values
        if source[0] == "f" and to[0] in "su":
            limits = np.iinfo(num.dtype_of(to))
            exact = np.nan_to_num(values.astype(np.float64), nan=0.0)
            inside = np.clip(exact, float(limits.min), float(limits.max))
            values = np.array([min(max(int(v), limits.min), limits.max) for v in inside], dtype=num.dtype_of(to))
        bits = num.bits_of(values, to)
        if to[0] == "s":  # What is narrower than its register is extended by its sign.
            bits = num.numbers(bits, to).astype(np.int64).view(np.uint64)
        self._set_bits(it.operands[0], who, bits)

    def _do_shfl(self, it: Instruction, who: Index) -> None:
        rows, (target, source, distance, *_) = self._warps(who), it.operands
        target = target.split("|")[0]
        lanes = np.arange(WARP) ^ int(distance, 0)
        self._set_bits(target, rows, self._bits(source, rows, "b32")[:, lanes])

    def _do_movmatrix(self, it: Instruction, who: Index) -> None:
        rows = self._warps(who)
        words = self._bits(it.operands[1], rows, "b32").astype(np.uint32)
        matrix = np.ascontiguousarray(words.reshape(-1, 8, 4)).view(np.uint16).reshape(-1, 8, 8)
        turned = np.ascontiguousarray(matrix.transpose(0, 2, 1)).view(np.uint32).reshape(-1, WARP)
        self._set_bits(it.operands[0], rows, turned.astype(np.uint64))

    def _do_cp(self, it: Instruction, who: Index) -> None:
        """Copies of 4 or 16 bytes, of which all are read, or none and zeros come."""
        if "bulk" in it.parts:
            self._begin_bulk(it, who)
        elif "commit_group" in it.parts:
            self._copies.end_group(who)
        elif "wait_group" in it.parts:
            self._copies.wait(who, int(it.operands[0]))
        else:
            source, reads, size = self._address(it.operands[1], who), np.ones(len(who), np.bool_), int(it.operands[2])
            if len(it.operands) > 3:
                reads = self._bits(it.operands[3], who, "u32") == size
            content = np.zeros((len(who), size), np.uint8)
            content[reads] = self._memory.load(source[reads], size, who[reads])
            self._copies.begin(self._block[who], self._address(it.operands[0], who), content, who)

    def _begin_bulk(self, it: Instruction, who: Index) -> None:
        """Copies by the copy engine: of neighbouring bytes, or of boxes of a tensor."""
        for thread in who:
            own = np.array([thread])
            block, to = int(self._block[thread]), int(self._address(it.operands[0], own)[0])
            if "tensor" in it.parts:
                name, *indexes = re.findall(r"%\w+", it.operands[1])
                first = [int(self._get(index, own, "s32")[0]) for index in indexes]
                found = self._maps[int(self._bits(name, own, "b64")[0])]
                content = box_of(found, first, lambda at, t=own: self._memory.load(at, PIECE_BYTES, t.repeat(len(at))))
                places = box_places(to, len(content))
            else:
                size = int(it.operands[2], 0)
                pieces = np.arange(0, size, PIECE_BYTES)
                source = int(self._address(it.operands[1], own)[0])
                content = self._memory.load(source + pieces, PIECE_BYTES, own.repeat(len(pieces)))
                places = to + pieces
            barrier = int(self._address(it.operands[-1], own)[0])
            if self._barriers.copy(block, barrier, places, content, int(self._order.rows_of(own)[0])):
                self._wake()

    def _do_mbarrier(self, it: Instruction, who: Index) -> None:
        row_of, complete = self._order.rows_of(who), np.ones(len(who), np.bool_)
        at = self._address(next(operand for operand in it.operands if operand.startswith("[")), who)
        for place, (thread, row) in enumerate(zip(who, row_of, strict=True)):
            own, block = np.array([thread]), int(self._block[thread])
            if "init" in it.parts:
                self._barriers.make(block, int(at[place]), int(it.operands[1]), int(row))
            elif "arrive" in it.parts:
                if "expect_tx" in it.parts:
                    self._barriers.announce(block, int(at[place]), int(it.operands[2]), int(row))
                if self._barriers.arrive(block, int(at[place]), int(row)):
                    self._wake()
            else:
                parity = int(self._get(it.operands[2], own, "u32")[0])
                complete[place] = self._barriers.is_complete(block, int(at[place]), parity, int(row))
        if "try_wait" in it.parts:
            self._set_bits(it.operands[0], who, complete.astype(np.uint64))
            self._state[who[~complete]] = AT_PHASE

    def _wake(self) -> None:
        """Let those that wait for a phase look again."""
        waiting = self._state == AT_PHASE
        self._at[waiting] -= 1
        self._state[waiting] = RUNNING

    def _do_fence(self, it: Instruction, who: Index) -> None:
        if it.opcode == "fence.proxy.async.shared::cta":
            self._shared.publish(who)
            if self._barriers is not None:
                self._barriers.publish(self._order.rows_of(who))

    def _do_ldmatrix(self, it: Instruction, who: Index) -> None:
        """Four matrices, whose rows the threads of a warp have the addresses of, eight after eight."""
        rows, targets = self._warps(who), re.findall(r"[%\w]+", it.operands[0])
        at = self._address(it.operands[1], who)
        raw = self._shared.load(self._block[who], at, 16, who, far=False)
        matrices = np.ascontiguousarray(raw).view(np.uint16).reshape(len(rows), len(targets), 8, 8)
        if "trans" in it.parts:
            matrices = matrices.swapaxes(2, 3)
        words = np.ascontiguousarray(matrices).view(np.uint32).reshape(len(rows), len(targets), WARP)
        for number, target in enumerate(targets):
            self._set_bits(target, rows, words[:, number].astype(np.uint64))

    def _do_wgmma(self, it: Instruction, who: Index) -> None:
        groups = self._warpgroups(who)
        numbers = groups[:, 0] // WARPGROUP
        rows = dict(zip(numbers.tolist(), groups, strict=True))
        if "commit_group" in it.parts:
            self._products.end_group(numbers)
        elif "wait_group" in it.parts:
            for number, register in self._products.wait(numbers, int(it.operands[0])):
                own = rows[number]
                self._set_bits(register, own, self._products.sums[register][own].astype(np.uint64))
        elif "mma_async" in it.parts:
            self._begin_products(it, groups, numbers)

    def _warpgroups(self, who: Index) -> Index:
        """The threads, a row for each warpgroup, all of whose threads have to be there."""
        rows = who.reshape(-1, WARPGROUP) if len(who) % WARPGROUP == 0 else np.zeros((0, WARPGROUP), np.int64)
        first = rows[:, :1] % self._grid.threads
        if not len(rows) or (rows != rows[:, :1] + np.arange(WARPGROUP)).any() or (first % WARPGROUP).any():
            raise Stuck("an instruction of a whole warpgroup is executed by a part of it")
        return rows

    def _begin_products(self, it: Instruction, groups: Index, numbers: Index) -> None:
        """``m64nNk…``: 64 rows by N columns, both factors in shared memory."""
        registers = re.findall(r"%\w+", it.operands[0])
        columns, blocks, total_kind = len(registers) * 2, self._block[groups[:, 0]], it.parts[-3]
        tiles, places = [], []
        for operand, count in ((it.operands[1], 64), (it.operands[2], columns)):
            descriptors = self._bits(operand, groups, "b64").astype(np.int64)
            if (descriptors != descriptors[:, :1]).any():
                raise Stuck("the threads of a warpgroup describe different tiles")
            places.append(tile_places(descriptors[:, 0], count).reshape(len(groups), -1))
            home = np.repeat(blocks, places[-1].shape[1])
            readers = np.repeat(groups[:, 0], places[-1].shape[1])
            raw = self._shared.load_for_tensor_cores(home, places[-1].reshape(-1), PIECE_BYTES, readers)
            tiles.append(raw.reshape(len(groups), count, STEP_BYTES))
        left, right = (_factors(tile, kind) for tile, kind in zip(tiles, it.parts[-2:], strict=True))
        total = left @ right.transpose(0, 2, 1)
        if self._bits(it.operands[3], groups, "pred").any():
            total += self._sums_of(registers, groups, numbers, total_kind)
        total = _added_with_few_bits(total) if it.parts[-1] == "e4m3" else total
        words = total.astype(num.dtype_of(total_kind)).view(np.uint32)
        self._products.sums.update(self._dealt(registers, groups, words))
        for number, block, at, own in zip(numbers, blocks, np.concatenate(places, 1), groups, strict=True):
            self._products.begin(int(number), registers, int(block), at, own[::WARP])

    def _sums_of(self, registers: list[str], groups: Index, numbers: Index, kind: str) -> npt.NDArray[np.float64]:
        """The sums that products go on from, a matrix for each warpgroup."""
        found = np.zeros((len(groups), 4, 8, 4, len(registers) // 4, 2, 2))
        busy = [self._products.under_way(registers[0], int(number)) for number in numbers]
        for place, register in enumerate(registers):
            words = self._bits(register, groups, kind)
            if any(busy):
                words = np.where(np.array(busy)[:, None], self._products.sums[register][groups], words)
            values = num.numbers(words.reshape(-1), kind)
            eight, half, e = place // 4, place // 2 % 2, place % 2
            found[:, :, :, :, eight, half, e] = values.reshape(len(groups), 4, 8, 4)
        return found.transpose(0, 1, 5, 2, 4, 3, 6).reshape(len(groups), 64, -1)

    def _dealt(
        self, registers: list[str], groups: Index, total: npt.NDArray[np.uint32]
    ) -> dict[str, npt.NDArray[np.uint32]]:
        """Matrices as the registers of threads, which hold nothing until somebody waits."""
        split = total.reshape(len(groups), 4, 2, 8, len(registers) // 4, 4, 2)
        found = {}
        for place, register in enumerate(registers):
            sums = self._products.sums.get(register)
            found[register] = np.zeros(self._threads, np.uint32) if sums is None else sums
            found[register][groups] = split[:, :, place // 2 % 2, :, place // 4, :, place % 2].reshape(groups.shape)
            self._set_bits(register, groups, np.full(groups.shape, 0xBAD0BAD0, np.uint64))
        return found

    def _do_mma(self, it: Instruction, who: Index) -> None:
        """Fragments as in the PTX manual: m16n8k16, and m16n8k8, whose upper half of the depth is not there."""
        if "m8n8k16" in it.parts:
            self._multiply_eighths(it, who)
            return
        if it.parts[-3] not in ("f16", "bf16"):
            self._multiply_words(it, who)
            return
        rows = self._warps(who)
        d, a, b, c = (re.findall(r"[%\w]+", operand) for operand in it.operands)
        dtype = ml_dtypes.bfloat16 if "bf16" in it.parts else np.float16
        count, halves = len(rows), len(b)
        left, right = np.zeros((count, 16, 8 * halves)), np.zeros((count, 8 * halves, 8))
        for part, register in enumerate(a):
            row, depth = part % 2 * 8, part // 2 * 8
            left[:, row : row + 8, depth : depth + 8] = self._pairs(register, rows, dtype)
        for part, register in enumerate(b):
            right[:, part * 8 : part * 8 + 8] = self._pairs(register, rows, dtype).transpose(0, 2, 1)
        sums = np.zeros((count, 16, 8))
        for part, register in enumerate(c):
            own = num.numbers(self._bits(register, rows, "f32").reshape(-1), "f32").reshape(count, 8, 4)
            sums[:, part // 2 * 8 : part // 2 * 8 + 8, part % 2 :: 2] = own
        sums = (sums + left @ right).astype(np.float32)
        for part, register in enumerate(d):
            own = np.ascontiguousarray(sums[:, part // 2 * 8 : part // 2 * 8 + 8, part % 2 :: 2])
            self._set_bits(register, rows, own.view(np.uint32).reshape(count, WARP).astype(np.uint64))

    def _multiply_words(self, it: Instruction, who: Index) -> None:
        """m16n8 of words, TF32 or four bytes: thread (g, q) has row or column g, word q of the depth or q + 4."""
        rows = self._warps(who)
        d, a, b, c = (re.findall(r"[%\w]+", operand) for operand in it.operands)

        total_kind, left_kind, right_kind = it.parts[-1], *it.parts[-3:-1]

        def matrix(register: str, kind: str) -> npt.NDArray[np.float64]:
            words = np.ascontiguousarray(self._bits(register, rows, "b32").astype(np.uint32))
            return _factors(words.view(np.uint8).reshape(len(rows), 8, 16), kind)

        halves = [np.concatenate([matrix(a[row], left_kind), matrix(a[row + 2], left_kind)], 2) for row in range(2)]
        right = np.concatenate([matrix(b[0], right_kind), matrix(b[1], right_kind)], 2)
        total = np.concatenate(halves, 1) @ right.transpose(0, 2, 1)
        for part, (target, source) in enumerate(zip(d, c, strict=True)):
            own = num.numbers(self._bits(source, rows, total_kind).reshape(-1), total_kind).reshape(len(rows), 8, 4)
            sums = own + total[:, part // 2 * 8 : part // 2 * 8 + 8, part % 2 :: 2]
            sums = _added_with_few_bits(sums) if left_kind == "e4m3" else sums
            self._set_bits(target, rows, num.bits_of(sums, total_kind).reshape(len(rows), WARP))

    def _multiply_eighths(self, it: Instruction, who: Index) -> None:
        """m8n8k16 of bytes: thread (g, q) has word q of row or column g."""
        rows = self._warps(who)
        d, a, b, c = (re.findall(r"[%\w]+", operand) for operand in it.operands)
        left, right = (
            _factors(np.ascontiguousarray(self._bits(one, rows, "b32").astype(np.uint32)).view(np.uint8), kind)
            for (one,), kind in zip((a, b), it.parts[-3:-1], strict=True)
        )
        total = left.reshape(-1, 8, 16) @ right.reshape(-1, 8, 16).transpose(0, 2, 1)
        for part, (target, source) in enumerate(zip(d, c, strict=True)):
            own = num.numbers(self._bits(source, rows, "s32").reshape(-1), "s32").reshape(len(rows), 8, 4)
            self._set_bits(target, rows, num.bits_of(own + total[:, :, part::2], "s32").reshape(len(rows), WARP))

    def _pairs(self, register: str, rows: Index, dtype: type) -> npt.NDArray[np.float64]:
        """An 8×8 matrix for each warp, of which thread (g, q) has row g, columns 2q and 2q + 1."""
        words = np.ascontiguousarray(self._bits(register, rows, "b32").astype(np.uint32))
        return words.view(np.uint16).view(dtype).astype(np.float64).reshape(-1, 8, 8)

    def _do_prmt(self, it: Instruction, who: Index) -> None:
        low, high, chosen = (self._bits(operand, who, "b32") for operand in it.operands[1:])
        whole, result = low & np.uint64(0xFFFFFFFF) | high << np.uint64(32), np.zeros(len(who), np.uint64)
        for byte in range(4):
            place = chosen >> np.uint64(4 * byte)
            found = whole >> (place & np.uint64(7)) * np.uint64(8) & np.uint64(0xFF)
            signs = np.where(found >> np.uint64(7) != 0, np.uint64(0xFF), np.uint64(0))
            result |= np.where(place & np.uint64(8) != 0, signs, found) << np.uint64(8 * byte)
        self._set_bits(it.operands[0], who, result)

    def _do_bfe(self, it: Instruction, who: Index) -> None:
        source, start, length = (self._bits(operand, who, it.parts[-1]) for operand in it.operands[1:])
        field = source >> start & (np.uint64(1) << length) - np.uint64(1)
        if it.parts[-1][0] == "s":
            sign = field >> length - np.uint64(1) & np.uint64(1)
            field = np.where(sign != 0, field | ~((np.uint64(1) << length) - np.uint64(1)), field)
        self._set_bits(it.operands[0], who, field)

    def _do_mul(self, it: Instruction, who: Index) -> None:
        kind = it.parts[-1]
        a, b = (self._get(operand, who, kind) for operand in it.operands[1:])
        self._multiplied(it, who, kind, a, b, None)

    def _do_mad(self, it: Instruction, who: Index) -> None:
        kind = it.parts[-1]
        wide = f"{kind[0]}{2 * num.width(kind)}" if "wide" in it.parts else kind
        a, b = (self._get(operand, who, kind) for operand in it.operands[1:3])
        self._multiplied(it, who, kind, a, b, self._get(it.operands[3], who, wide))

    def _multiplied(
        self, it: Instruction, who: Index, kind: str, a: num.Numbers, b: num.Numbers, c: num.Numbers | None
    ) -> None:
        if "hi" in it.parts:
            result = num.multiplied_high(a, b, kind)
        elif "wide" in it.parts:
            kind = f"{kind[0]}{2 * num.width(kind)}"
            result = a.astype(num.dtype_of(kind)) * b.astype(num.dtype_of(kind))
        else:
            result = a * b
        self._set(it.operands[0], who, result if c is None else result + c, kind)

    def _do_shl(self, it: Instruction, who: Index) -> None:
        self._shifted(it, who, num.shifted_left)

    def _do_shr(self, it: Instruction, who: Index) -> None:
        self._shifted(it, who, num.shifted_right)

    def _shifted(self, it: Instruction, who: Index, shift: object) -> None:
        assert callable(shift)
        kind = it.parts[-1]
        by = self._get(it.operands[2], who, "u32")
        self._set(it.operands[0], who, shift(self._get(it.operands[1], who, kind), by, num.width(kind)), kind)


def _factors(raw: npt.NDArray[np.uint8], kind: str) -> npt.NDArray[np.float64]:
    """Bytes as numbers of a type; TF32 has the upper 19 bits of float32."""
    raw = np.ascontiguousarray(raw)
    if kind == "e4m3":
        return raw.view(ml_dtypes.float8_e4m3fn).astype(np.float64)
    if kind in ("u8", "s8"):
        return raw.view(num.dtype_of(kind)).astype(np.float64)
    if kind == "tf32":
        return (raw.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32).astype(np.float64)
    return raw.view(ml_dtypes.bfloat16 if kind == "bf16" else np.float16).astype(np.float64)


def _added_with_few_bits(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Sums of float8 as tensor cores of Hopper have them: about 14 bits, the others cut off."""
    mantissa, exponent = np.frexp(sums)
    return np.asarray(np.ldexp(np.trunc(np.ldexp(mantissa, 14)), exponent - 14))


def _moves(it: Instruction) -> bool:
    """Whether threads may part, or have to wait, behind an instruction."""
    return it.parts[0] in ("bra", "brx", "ret", "bar", "barrier") or "try_wait" in it.parts


def _arithmetic(it: Instruction, kind: str, values: list[num.Numbers]) -> num.Numbers:
    name = it.parts[0]
    if name in ("max", "min"):
        return num.extreme(name, *values, nan="NaN" in it.parts)
    if name not in num.ARITHMETIC:
        raise NotImplementedError(it.opcode)
    return num.ARITHMETIC[name](*values)
