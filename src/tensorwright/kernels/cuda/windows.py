"""Windows along the width of images of few channels, as a first convolution reads them: a thread for a pixel.

The thread knows for each place of the window whether it is inside of the image, whatever the channel, and where it lies
in the first one; so of each element little is left to do but to load it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.codegen.cuda.nest import BLOCK, GroupEmitter, split_index
from tensorwright.codegen.cuda.targets import CudaTarget
from tensorwright.codegen.cuda.threads import wide
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.function import ThreadWriter, kernel_in_a_row, thread_emitter
from tensorwright.kernels.cuda.generic import blockable
from tensorwright.kernels.cuda.kernel import CudaKernel
from tensorwright.kernels.cuda.problem import BLOCKED, GROUP, PIECE_BYTES
from tensorwright.kernels.tactic import NO_OPTIONS, AnyConfig, Config, Tactic, TacticOptions, plain_inputs
from tensorwright.ops.width_windows import WidthWindows
from tensorwright.tensor.dim import Dim, product
from tensorwright.tensor.dtype import INT32
from tensorwright.tensor.type import TensorType

MOST_CHANNELS = 2 * GROUP
"""Of the output: a thread has all of a pixel in registers."""
REGISTERS = 64


class Windows(Tactic[CudaTarget, TacticOptions]):
    """Row-major images to channels in blocks, zeros behind the last one."""

    name = "windows"

    def configs(self, region: Region, target: CudaTarget) -> Sequence[AnyConfig]:
        op, type = region.output.op, region.output.type
        if len(region.values) > 1 or not isinstance(op, WidthWindows) or not blockable(type):
            return []
        channels, width = type.shape[1], region.input_types[0].shape[3]
        fits = isinstance(channels, int) and channels <= MOST_CHANNELS and isinstance(width, int)
        return [Config(plain_inputs(region), BLOCKED, NO_OPTIONS)] if fits else []

    def emit(self, region: Region, config: AnyConfig, target: CudaTarget) -> CudaKernel:
        emitter, op = thread_emitter(len(region.inputs), region.symbols, target), region.output.op
        assert isinstance(op, WidthWindows)
        writer = _Writer(emitter, op, region.input_types[0], region.output.type)
        writer.write()
        return kernel_in_a_row(region, config, emitter, target, writer.blocks, BLOCK, REGISTERS)


TACTICS = (Windows(),)


@dataclass(frozen=True)
class _Writer(ThreadWriter):
    """x, y: types of the image and of its windows."""

    emitter: GroupEmitter
    op: WidthWindows
    x: TensorType
    y: TensorType

    @property
    def pixels(self) -> tuple[Dim, Dim, Dim]:
        return self.y.shape[0], self.y.shape[2], self.op.positions

    @property
    def blocks(self) -> Dim:
        return (product(self.pixels) + (BLOCK - 1)) // BLOCK

    @property
    def channels(self) -> int:
        (channels,) = (extent for extent in self.y.shape[1:2] if isinstance(extent, int))
        return channels

    @property
    def word(self) -> str:
        """An element, whatever it stands for."""
        return f"i{8 * self.x.dtype.size}"

    def write(self) -> None:
        builder = self.builder
        builder.launch_next()
        builder.wait_for_previous()
        number = builder.add(
            builder.scaled(wide(builder, builder.block_index()), BLOCK), wide(builder, builder.thread())
        )
        with self.emitter.when(builder.compare("ult", number, self.emitter.integer(product(self.pixels)))):
            image, row, column = split_index(self.emitter, self.pixels, number)
            self._store(image, row, column, self._loaded(image, row, column))

    def _loaded(self, image: Register, row: Register, column: Register) -> list[str]:
        """All channels of a pixel: a place of the window after the other, of each all channels of the image."""
        builder, emitter, op = self.builder, self.emitter, self.op
        _, channels, height, width = self.x.shape
        assert isinstance(width, int)
        first = builder.sub(builder.mul(builder.convert("trunc", column, INT32), op.stride), op.before)
        rows = []
        for channel in range(self.channels // op.window):
            matrix = builder.add(builder.mul(image, emitter.integer(channels)), channel)
            line = builder.add(builder.mul(matrix, emitter.integer(height)), row)
            offset = builder.mul(line, emitter.integer(width))
            rows.append(builder.offset(emitter.operands[0], offset, self.x.dtype))
        found = []
        for place in range(op.window):
            at = builder.add(first, place)
            exists = builder.compare("ult", at, literal(width, INT32))
            inside = wide(builder, builder.select(exists, at, literal(0, INT32)))
            found += [self._element(builder.offset(line, inside, self.x.dtype), exists) for line in rows]
        return found

    def _element(self, place: Pointer, exists: Register) -> str:
        """What lies at a place, or 0."""
        builder, loaded, found = self.builder, self.builder.fresh(), self.builder.fresh()
        builder.emit(f"{loaded} = load {self.word}, ptr {place.text}, align {self.x.dtype.size}")
        builder.emit(f"{found} = select {exists.typed}, {self.word} {loaded}, {self.word} 0")
        return found

    def _store(self, image: Register, row: Register, column: Register, values: list[str]) -> None:
        builder, emitter, count = self.builder, self.emitter, -(-self.channels // GROUP)
        lanes = PIECE_BYTES // self.x.dtype.size
        padded = [*values, *["0"] * (count * GROUP - len(values))]
        for block in range(count):
            matrix = builder.add(builder.mul(image, i64(count)), block)
            line = builder.add(builder.mul(matrix, emitter.integer(self.y.shape[2])), row)
            pixel = builder.add(builder.mul(line, i64(self.op.positions)), column)
            start = builder.offset(Pointer("%out"), builder.scaled(pixel, GROUP), self.y.dtype)
            for first in range(0, GROUP, lanes):
                own = padded[block * GROUP + first : block * GROUP + first + lanes]
                place = builder.offset(start, first, self.y.dtype)
                builder.emit(f"store {self._vector(own)}, ptr {place.text}, align {PIECE_BYTES}")

    def _vector(self, elements: list[str]) -> str:
        builder, kind = self.builder, f"<{len(elements)} x {self.word}>"
        found = "zeroinitializer"
        for lane, element in enumerate(elements):
            if element != "0":
                name = builder.fresh()
                builder.emit(f"{name} = insertelement {kind} {found}, {self.word} {element}, i64 {lane}")
                found = name
        return f"{kind} {found}"
