"""What steps of a plan call of libraries: as plain data, and ready to be put into a stream."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

from tensorwright.base.errors import PlanError
from tensorwright.base.fork import cached_property
from tensorwright.devices.cuda.context import Context
from tensorwright.devices.cuda.libraries.convolution import Convolution, read_convolution
from tensorwright.devices.cuda.libraries.convolve import CudnnConvolution
from tensorwright.devices.cuda.libraries.cublas import CUBLAS, Cublas
from tensorwright.devices.cuda.libraries.cudnn import CUDNN, Cudnn
from tensorwright.devices.cuda.libraries.fields import Fields
from tensorwright.devices.cuda.libraries.find import INSTALL
from tensorwright.devices.cuda.libraries.matmul import CublasProduct
from tensorwright.devices.cuda.libraries.product import Product, read_product
from tensorwright.plan.fields import mapping
from tensorwright.plan.plan import Json

Call: TypeAlias = Product | Convolution
TITLES = {Product.library: CUBLAS.title, Convolution.library: CUDNN.title}
"""What messages call a library, by the name that options and plans have for it."""


class PreparedCall(Protocol):
    """A call that its library has accepted."""

    def run(self, addresses: Sequence[int], workspace: int, stream: int) -> None:
        """Put it into a stream. addresses: of the output and the inputs of its step."""
        ...


def written_call(call: Call) -> str:
    """The text of a call, which is equal for equal calls."""
    return json.dumps(call.document(), sort_keys=True, separators=(",", ":"))


def is_call(text: str) -> bool:
    """Whether the code of a kernel is the text of a call."""
    return text.startswith("{")


def read_call(document: Json, where: str) -> Call:
    """The call that JSON holds.

    Raises:
        Refusal: it is none.
    """
    fields = Fields(mapping(document, where), where)
    is_product = fields.one_of("library", tuple(TITLES)) == Product.library
    return read_product(fields) if is_product else read_convolution(fields)


class Libraries:
    """The libraries of one GPU, each opened when it is first needed.

    Raises:
        ExecutionError: one that is needed is not installed, or does not accept the GPU.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    @cached_property
    def cublas(self) -> Cublas:
        return Cublas(self._context)

    @cached_property
    def cudnn(self) -> Cudnn:
        return Cudnn(self._context)

    def open(self, names: Iterable[str]) -> None:
        """Open libraries by their names."""
        for name in names:
            self.version(name)

    def version(self, name: str) -> str:
        """The version of a library."""
        return self.cublas.version if name == Product.library else self.cudnn.version

    def prepared(self, call: Call, where: str) -> PreparedCall:
        """A call, ready to run.

        Raises:
            PlanError: its library does not accept it.
        """
        if isinstance(call, Product):
            return CublasProduct(self.cublas, call, where)
        return CudnnConvolution(self.cudnn, call, where)

    def require(self, versions: Mapping[str, str], calls: Iterable[Call], where: str) -> None:
        """Refuse calls of libraries that are other ones here than where the calls were chosen.

        versions: those there, by name.

        Raises:
            PlanError: a version is another one, or not said.
            ExecutionError: a library is not installed.
        """
        for name in {call.library: None for call in calls}:
            wanted, found = versions.get(name, "no version"), self.version(name)
            if wanted != found:
                raise PlanError(
                    f"{where}: its steps were chosen for {TITLES[name]} {wanted}, found {found}: install that version "
                    f"({INSTALL}), or build it again here"
                )
