"""What a thread of a GPU knows of its place, and how threads of a warp and of a block meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from tensorwright.codegen.cuda.targets import WARP, CudaTarget
from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Pointer, Register, register_dtype, register_name
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, INT32, INT64, DType

Axis = Literal["x", "y", "z"]
Combine = Callable[[Register, Register], Register]


@dataclass
class ThreadBuilder(FunctionBuilder):
    """Appends instructions to the text of one GPU function."""

    def load(self, address: Pointer, dtype: DType, lanes: int = 1, alignment: int | None = None) -> Register:
        """Elements from memory, in register type; several lie at a multiple of their size, up to 16 bytes."""
        return super().load(address, dtype, lanes, alignment or min(16, lanes * dtype.size))

    def store(self, value: Register, address: Pointer, dtype: DType, alignment: int | None = None) -> None:
        """Elements to memory, converted to memory type; several lie at a multiple of their size, up to 16 bytes."""
        super().store(value, address, dtype, alignment or min(16, value.lanes * dtype.size))

    def gather(self, base: Pointer, index: Register, mask: Register, otherwise: Register, dtype: DType) -> Register:
        """Elements at a vector of distances from `base`, where the mask is set; one by one, without branches."""
        values = []
        for lane in range(index.lanes):
            own = self.offset(base, self.extract(index, lane), dtype)
            chosen = self.fresh("p")
            self.emit(f"{chosen} = select {self.extract(mask, lane).typed}, ptr {own.text}, ptr {base.text}")
            values.append(self.load(Pointer(chosen), dtype))
        return self.select(mask, self.vector_of(values), otherwise)

    def prefetch(self, address: Pointer, locality: int = 2) -> None:
        """Have what lies at an address brought near, without waiting for it: into the L1 (3), or only into the L2."""
        text = f"prefetch.L{1 if locality > 2 else 2} [$0];"
        place = self.value(f"ptrtoint ptr {address.text} to i64", INT64)
        self.emit(f'call void asm sideeffect "{text}", "l"({place.typed}) nounwind')

    def shared_address(self, name: str) -> Register:
        """Where a variable of shared memory lies in it, an i32."""
        return self.value(f"ptrtoint ptr addrspace(3) {name} to i32", INT32)

    def in_shared(self, address: Register) -> str:
        """The pointer that an address (i32) in shared memory is."""
        pointer = self.fresh("p")
        self.emit(f"{pointer} = inttoptr {address.typed} to ptr addrspace(3)")
        return pointer

    def of_each_lane(self, function: Callable[[Register], Register], value: Register) -> Register:
        """A function of every lane, which knows single numbers only."""
        if value.lanes == 1:
            return function(value)
        return self.vector_of([function(self.extract(value, lane)) for lane in range(value.lanes)])

    def special(self, name: str) -> Register:
        """A special register such as ``tid.x`` or ``ctaid.y``, an i32."""
        intrinsic = f"@llvm.nvvm.read.ptx.sreg.{name}"
        self.declare(f"declare i32 {intrinsic}()")
        return self.value(f"call i32 {intrinsic}()", INT32)

    def special_again(self, name: str) -> Register:
        """A special register, read here, so that nobody keeps it in another one since it was read before."""
        text = f'call i32 asm sideeffect "mov.u32 $0, %{name};", "=r"() nounwind'
        return self.value(text, INT32)

    def thread(self, axis: Axis = "x") -> Register:
        return self.special(f"tid.{axis}")

    def warp_and_lane(self) -> tuple[Register, Register]:
        """The number of the thread's warp in its block, and its own in the warp (i32)."""
        thread = Term(self, self.thread())
        lane = thread & (WARP - 1)
        return thread.logical_right(WARP.bit_length() - 1).register, lane.register

    def block_index(self, axis: Axis = "x") -> Register:
        return self.special(f"ctaid.{axis}")

    def block_index_again(self) -> Register:
        """Along x, read at this place: what follows from it is computed here, and not kept in registers from before."""
        return self.special_again("ctaid.x")

    def meet(self) -> None:
        """All threads of the block wait for each other and see each other's stores."""
        self.declare("declare void @llvm.nvvm.barrier.cta.sync.aligned.all(i32)")
        self.emit("call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)")

    def meet_some(self, threads: int) -> None:
        """So many threads of the block, whole warps and always the same, wait for each other."""
        self.declare("declare void @llvm.nvvm.barrier.cta.sync.aligned.count(i32, i32)")
        self.emit(f"call void @llvm.nvvm.barrier.cta.sync.aligned.count(i32 1, i32 {threads})")

    def meet_cluster(self) -> None:
        """All threads of the cluster wait for each other and see each other's stores."""
        self.arrive_in_cluster()
        self.wait_for_cluster()

    def arrive_in_cluster(self) -> None:
        """Let the others of the cluster see what this thread has stored, once they all have arrived, too.

        Until it has waited for that the thread stores nothing.
        """
        self._barrier_of_cluster("arrive")

    def wait_for_cluster(self) -> None:
        """Wait until all threads of the cluster have arrived."""
        self._barrier_of_cluster("wait")

    def _barrier_of_cluster(self, what: str) -> None:
        self.declare(f"declare void @llvm.nvvm.barrier.cluster.{what}()")
        self.emit(f"call void @llvm.nvvm.barrier.cluster.{what}()")

    @property
    def _launches_depend(self) -> bool:
        return isinstance(self.target, CudaTarget) and self.target.has_dependent_launch

    def wait_for_previous(self) -> None:
        """Wait until the kernel before this one in a chain of dependent launches has ended and written.

        Nothing on targets that have no such launches.
        """
        if not self._launches_depend:
            return
        self.declare("declare void @llvm.nvvm.griddepcontrol.wait()")
        self.emit("call void @llvm.nvvm.griddepcontrol.wait()")

    def launch_next(self) -> None:
        """Let the next kernel of a chain of dependent launches start, once all blocks have said so."""
        if not self._launches_depend:
            return
        self.declare("declare void @llvm.nvvm.griddepcontrol.launch.dependents()")
        self.emit("call void @llvm.nvvm.griddepcontrol.launch.dependents()")

    def vector_of(self, values: Sequence[Register]) -> Register:
        """Scalars side by side."""
        lanes, found = len(values), Register("poison", values[0].dtype, len(values))
        for number, value in enumerate(values):
            found = self.value(f"insertelement {found.typed}, {value.typed}, i64 {number}", value.dtype, lanes)
        return found

    # ---- shared memory

    def shared_memory(self, dtype: DType, elements: int) -> str:
        """Shared memory of the block's own for so many elements, which nothing else uses."""
        name = f"@shared{len(self.definitions)}"
        element = register_name(dtype)
        text = f"{name} = internal addrspace(3) global [{elements} x {element}] undef, align 16"
        self.define(name, text)
        return name

    def store_shared(self, value: Register, places: str, index: Register) -> None:
        """Put a scalar at an index (i32)."""
        self.emit(f"store {value.typed}, ptr addrspace(3) {self._shared_place(value.type, places, index)}")

    def load_shared(self, places: str, index: Register, dtype: DType) -> Register:
        """The scalar at an index (i32)."""
        kind = register_name(dtype)
        text = f"load {kind}, ptr addrspace(3) {self._shared_place(kind, places, index)}"
        return self.value(text, register_dtype(dtype))

    def _shared_place(self, kind: str, places: str, index: Register) -> str:
        name = self.fresh("p")
        self.emit(f"{name} = getelementptr {kind}, ptr addrspace(3) {places}, {index.typed}")
        return name

    # ---- across the threads of a warp

    def exchanged(self, value: Register, distance: int) -> Register:
        """The value of the thread of the warp whose number differs from this one's by XOR with `distance`."""
        words = self._words(value)
        return self._joined([self._exchanged_word(word, distance) for word in words], value)

    def _exchanged_word(self, word: Register, distance: int) -> Register:
        name = "@llvm.nvvm.shfl.sync.bfly.i32"
        self.declare(f"declare i32 {name}(i32, i32, i32, i32)")
        return self.value(f"call i32 {name}(i32 -1, {word.typed}, i32 {distance}, i32 31)", INT32)

    def combined(self, value: Register, combine: Combine, threads: int = 32) -> Register:
        """The values of neighbouring `threads` (a power of two) of a warp combined; every one gets the result."""
        distance = threads // 2
        while distance:
            value = combine(value, self.exchanged(value, distance))
            distance //= 2
        return value

    def _words(self, value: Register) -> list[Register]:
        """A scalar as 32-bit integers."""
        size = 8 * value.dtype.size if value.dtype.name != "bool" else 1
        if value.dtype in (FLOAT32, FLOAT16, BFLOAT16):
            return [self.bitcast(value, INT32)]
        if size < 32:
            return [self.value(f"zext {value.typed} to i32", INT32)]
        if size == 32:
            return [Register(value.text, INT32)]
        whole = self.bitcast(value, INT64) if value.dtype == FLOAT64 else Register(value.text, INT64)
        high = self.binary("lshr", whole, 32)
        return [self.convert("trunc", whole, INT32), self.convert("trunc", high, INT32)]

    def _joined(self, words: Sequence[Register], like: Register) -> Register:
        if len(words) == 2:
            low, high = (self.value(f"zext {word.typed} to i64", INT64) for word in words)
            whole = self.binary("or", low, self.binary("shl", high, 32))
            return self.bitcast(whole, FLOAT64) if like.dtype == FLOAT64 else Register(whole.text, like.dtype)
        if like.dtype == FLOAT32:
            return self.bitcast(words[0], FLOAT32)
        if like.type == "i32":
            return Register(words[0].text, like.dtype)
        return self.value(f"trunc {words[0].typed} to {like.type}", like.dtype)


def wide(builder: FunctionBuilder, value: Register) -> Register:
    """An i32 that is not negative as an i64."""
    return builder.value(f"zext {value.typed} to i64", INT64)
