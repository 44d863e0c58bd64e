"""The kernel of a run: stage after stage, and the places that its blocks take."""

from __future__ import annotations

from dataclasses import dataclass, field

from tensorwright.codegen.cuda.nest import GroupEmitter, split_index
from tensorwright.codegen.cuda.threads import Axis, ThreadBuilder, wide
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.graph.graph import Value, is_constant, storage_root
from tensorwright.kernels.cuda.cluster.plan import Run
from tensorwright.kernels.cuda.cluster.stages import Cluster, Stage
from tensorwright.tensor.dim import product, upper_bound
from tensorwright.tensor.dtype import INT32, UINT8

LINE = 128
"""Bytes that are requested at once."""
FEW_BYTES = 4096
"""Constants of fewer bytes are not requested ahead."""


@dataclass
class StageBuilder(ThreadBuilder):
    """Appends instructions for a block that stands for one of a stage's grid.

    blocks: of the cluster. stands_for: which block of the grid, i32. has_arrived: whether the block has said that its
    part of the stage before is done, and not waited for the others yet.
    """

    blocks: int = 1
    stands_for: dict[Axis, Register] = field(default_factory=dict)
    has_arrived: bool = False

    def block_index(self, axis: Axis = "x") -> Register:
        return self.stands_for[axis]

    def own_block(self) -> Register:
        """The number of the block in its cluster, i32."""
        return super().block_index("z")

    def launch_next(self) -> None:
        """Nothing: the whole kernel has."""

    def wait_for_previous(self) -> None:
        """Wait for the stage before this one."""
        if self.has_arrived:
            self.wait_for_cluster()

    def begin(self) -> None:
        """Let the kernel behind this one start, and wait for the one in front of it."""
        super().launch_next()
        super().wait_for_previous()

    def end_stage(self) -> None:
        """Say that the block's part of a stage is done."""
        self.has_arrived = self.blocks > 1
        if self.has_arrived:
            self.arrive_in_cluster()
        else:
            self.meet()


@dataclass(frozen=True)
class RunKernel:
    """Emits the body of a run's kernel. symbols: of the whole region, by name."""

    run: Run
    cluster: Cluster
    builder: StageBuilder
    symbols: dict[str, Register]

    def write(self) -> None:
        builder, stages = self.builder, self.run.stages
        self._request_constants()
        builder.begin()
        for stage in stages:
            if stage.waits and upper_bound(product(stage.grid)) <= self.cluster.blocks:
                self._write_once(stage)
            else:
                builder.wait_for_previous()
                builder.has_arrived = False
                self._write_in_turn(stage)
            if stage is not stages[-1]:
                builder.end_stage()

    def _write_once(self, stage: Stage) -> None:
        """A stage of no more pieces than blocks, which waits for the stage before when it has loaded constants."""
        builder, emitter = self.builder, self._emitter(stage)
        block = wide(builder, builder.own_block())
        pieces = product(stage.grid)
        has_own = None if pieces == self.cluster.blocks else builder.compare("slt", block, emitter.integer(pieces))
        with builder.when(has_own):
            self._write_piece(stage, emitter, block)
        if has_own is not None and builder.has_arrived:
            with builder.when(builder.binary("xor", has_own, True)):
                builder.wait_for_previous()
        builder.has_arrived = False

    def _write_in_turn(self, stage: Stage) -> None:
        """A stage of which every block does one piece after the other."""
        builder, emitter = self.builder, self._emitter(stage)
        pieces = product(stage.grid)
        block, last = wide(builder, builder.own_block()), emitter.integer(pieces)
        with builder.loop(block, last, self.cluster.blocks) as loop:
            self._write_piece(stage, emitter, loop.index)
            if upper_bound(pieces) > self.cluster.blocks:
                builder.meet()  # Of warps whose threads have parted, and before shared memory is written again.

    def _write_piece(self, stage: Stage, emitter: GroupEmitter, piece: Register) -> None:
        builder, (x, y) = self.builder, stage.grid
        with emitter.scope():
            row, column = split_index(emitter, (y, x), piece)
            builder.stands_for = {
                "x": builder.convert("trunc", column, INT32),
                "y": builder.convert("trunc", row, INT32),
                "z": literal(0, INT32),
            }
            stage.write(emitter, self._place(stage.region.output))

    def _emitter(self, stage: Stage) -> GroupEmitter:
        operands = [self._place(value) for value in stage.region.inputs]
        symbols = {symbol.name: self.symbols[symbol.name] for symbol in stage.region.symbols}
        assert self.builder.target is not None
        return GroupEmitter(self.builder, self.builder.target, operands, symbols)

    def _place(self, value: Value) -> Pointer:
        """Where a tensor lies: an operand of the kernel, or a part of its workspace."""
        region = self.run.region
        if value is region.output:
            return Pointer("%out")
        if value in region.inputs:
            return Pointer(f"%in{region.inputs.index(value)}")
        return self.builder.offset(Pointer("%workspace"), self.run.places[storage_root(value)], UINT8)

    def _request_constants(self) -> None:
        """Have all constants brought into the L2 at once, by all threads."""
        builder, cluster = self.builder, self.cluster
        first = builder.add(
            builder.scaled(wide(builder, builder.own_block()), cluster.threads), wide(builder, builder.thread())
        )
        for value in self.run.region.inputs:
            size = value.type.max_bytes if is_constant(value) else 0
            if size >= FEW_BYTES:
                with builder.loop(first, i64(size // LINE), cluster.all_threads) as loop:
                    builder.prefetch(builder.offset(self._place(value), builder.scaled(loop.index, LINE), UINT8))
