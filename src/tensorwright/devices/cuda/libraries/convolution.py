"""A convolution that cuDNN is to compute, as plain data: what a plan holds of it, read without trust."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import ClassVar

from tensorwright.devices.cuda.libraries.fields import Fields
from tensorwright.devices.cuda.libraries.operands import DTYPES, operand_bytes
from tensorwright.plan.fields import refuse, sequence
from tensorwright.plan.limits import MAX_SIZE
from tensorwright.plan.plan import Json
from tensorwright.tensor.dtype import DType

ACTIVATIONS = ("none", "relu")
MOST_AXES = 3
MOST_KNOBS = 64
_MOST_VALUE = 1 << 62


@dataclass(frozen=True)
class Convolution:
    """``y = activation(Σ x · weights + bias + residual)``, channels innermost everywhere.

    dtype: of all operands; sums are float32. x ``[batch, *spatial, channels]``, weights ``[columns, *kernel,
    channels]``, y and residual ``[batch, *outputs, columns]``, bias ``[columns]``; strides, pads and dilations: one for
    each spatial axis. x, weights, bias, residual: which operands of the step they are, of which 0 is y; None for no
    such term. tf32: factors of float32 may be rounded. engine: the number of what computes it in the library; knobs:
    its settings, pairs of kind and value; workspace: bytes that it needs.
    """

    library: ClassVar[str] = "cudnn"

    dtype: DType
    batch: int
    channels: int
    columns: int
    spatial: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads_begin: tuple[int, ...]
    pads_end: tuple[int, ...]
    dilations: tuple[int, ...]
    x: int
    weights: int
    bias: int | None = None
    residual: int | None = None
    activation: str = "none"
    tf32: bool = False
    engine: int = 0
    knobs: tuple[tuple[int, int], ...] = ()
    workspace: int = 0

    @property
    def outputs(self) -> tuple[int, ...]:
        """The spatial extents of y."""
        axes = zip(self.spatial, self.kernel, self.strides, self.pads_begin, self.pads_end, self.dilations, strict=True)
        return tuple((s + begin + end - d * (k - 1) - 1) // stride + 1 for s, k, stride, begin, end, d in axes)

    @property
    def extents(self) -> Mapping[int, int]:
        """Bytes that are read of each operand, and written of y, by their numbers."""
        result = self.batch * prod(self.outputs) * self.columns
        factors = {
            self.x: self.batch * prod(self.spatial) * self.channels,
            self.weights: self.columns * prod(self.kernel) * self.channels,
        }
        return operand_bytes(self.dtype, factors, result, self.columns, self.bias, self.residual)

    def document(self) -> dict[str, Json]:
        """The convolution in JSON."""
        lists: dict[str, Json] = {
            name: [list(one) if isinstance(one, tuple) else one for one in value] if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }
        return {"library": self.library, **lists, "dtype": self.dtype.name}


def read_convolution(fields: Fields) -> Convolution:
    """The convolution that an object of JSON is.

    Raises:
        Refusal: it is none.
    """
    found = Convolution(
        dtype=DTYPES[fields.one_of("dtype", tuple(DTYPES))],
        batch=fields.number("batch", 1),
        channels=fields.number("channels", 1),
        columns=fields.number("columns", 1),
        spatial=fields.numbers("spatial", 1),
        kernel=fields.numbers("kernel", 1),
        strides=fields.numbers("strides", 1),
        pads_begin=fields.numbers("pads_begin", 0),
        pads_end=fields.numbers("pads_end", 0),
        dilations=fields.numbers("dilations", 1),
        x=fields.operand("x"),
        weights=fields.operand("weights"),
        bias=fields.optional_operand("bias"),
        residual=fields.optional_operand("residual"),
        activation=fields.one_of("activation", ACTIVATIONS),
        tf32=fields.truth("tf32"),
        engine=fields.number("engine", 0),
        knobs=_knobs(fields),
        workspace=fields.number("workspace", 0, MAX_SIZE),
    )
    axes = (found.spatial, found.kernel, found.strides, found.pads_begin, found.pads_end, found.dilations)
    if not 1 <= len(found.spatial) <= MOST_AXES or len(set(map(len, axes))) > 1:
        refuse(fields.where, f"1 to {MOST_AXES} spatial axes everywhere", [len(axis) for axis in axes])
    if min(found.outputs) < 1:
        refuse(fields.where, "windows that fit the padded input", found.outputs)
    fields.require_different(found.x, found.weights, found.bias, found.residual)
    return found


def _knobs(fields: Fields) -> tuple[tuple[int, int], ...]:
    items = sequence(fields.found.get("knobs"), f"{fields.where}.knobs")
    if len(items) > MOST_KNOBS:
        refuse(f"{fields.where}.knobs", f"at most {MOST_KNOBS} settings", len(items))
    return tuple(_knob(Fields({"knob": item}, f"{fields.where}.knobs[{n}]")) for n, item in enumerate(items))


def _knob(fields: Fields) -> tuple[int, int]:
    found = fields.numbers("knob", 0, _MOST_VALUE)
    return (found[0], found[1]) if len(found) == 2 else refuse(fields.where, "a kind and a value", found)
