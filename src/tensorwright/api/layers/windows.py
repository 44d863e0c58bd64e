"""What layers with windows over spatial axes share: strides, padding and its modes."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.api.checks import Ints, integers, member
from tensorwright.api.enums import PaddingMode
from tensorwright.api.layer import Layer, Setting
from tensorwright.base.errors import NetworkError
from tensorwright.tensor.dim import Dim, bounds, ceil_divide, maximum

SAME = (PaddingMode.SAME_UPPER, PaddingMode.SAME_LOWER)
ROUND_UP = (PaddingMode.EXPLICIT_ROUND_UP, PaddingMode.CAFFE_ROUND_UP)


class SpatialSetting(Setting[Ints]):
    """One integer of at least `low` per spatial axis; a single integer stands for all."""

    def __init__(self, low: int) -> None:
        super().__init__(integers(low))
        self._low = low

    def checked(self, layer: Layer, name: str, value: object) -> Ints:
        assert isinstance(layer, WindowLayer)
        return integers(self._low, layer.spatial_axes)(name, value)


class WindowLayer(Layer):
    """Base of convolutions and pooling. Spatial properties have one value per spatial axis."""

    settled = False

    stride = SpatialSetting(1)
    stride_nd = stride
    pre_padding = SpatialSetting(0)
    post_padding = SpatialSetting(0)
    padding_mode = Setting(member(PaddingMode))
    spatial_axes: int

    def set_defaults(self, spatial_axes: int) -> None:
        """Windows one element apart, no padding."""
        self.spatial_axes = spatial_axes
        self.stride = 1
        self.pre_padding = 0
        self.post_padding = 0
        self.padding_mode = PaddingMode.EXPLICIT_ROUND_DOWN

    @property
    def padding(self) -> Ints:
        """Zeros before and after every spatial axis; set `pre_padding` and `post_padding` for different ones."""
        if self.pre_padding != self.post_padding:
            raise self.error(
                f"padding: it differs before {self.pre_padding} and after {self.post_padding} the input; read "
                "pre_padding and post_padding"
            )
        return self.pre_padding

    @padding.setter
    def padding(self, value: object) -> None:
        self.pre_padding = value
        self.post_padding = value

    @property
    def padding_nd(self) -> Ints:
        return self.padding

    @padding_nd.setter
    def padding_nd(self, value: object) -> None:
        self.padding = value

    def pads(self, extents: Sequence[Dim], spans: Sequence[int]) -> tuple[Ints, Ints]:
        """Padding before and after the input; `spans` is what each window reaches over.

        Raises:
            NetworkError: the padding depends on a dimension that is not known.
        """
        if self.padding_mode not in SAME:
            return self.pre_padding, self.post_padding
        totals = [self._same(*axis) for axis in zip(extents, spans, self.stride, strict=True)]
        halves = tuple(total // 2 for total in totals)
        rests = tuple(total - half for total, half in zip(totals, halves, strict=True))
        return (halves, rests) if self.padding_mode is PaddingMode.SAME_UPPER else (rests, halves)

    def _same(self, extent: Dim, span: int, stride: int) -> int:
        total = maximum(0, (ceil_divide(extent, stride) - 1) * stride + span - extent)
        if not isinstance(total, int):
            raise NetworkError(
                f"padding_mode: {self.padding_mode.name} with stride {stride} needs a known extent, found {extent}; "
                "set pre_padding and post_padding"
            )
        return total

    def formula_end(self, extents: Sequence[Dim], spans: Sequence[int], begin: Ints, end: Ints) -> Ints | None:
        """The padding after the input that gives as many windows as the network's formula says; None without one.

        Raises:
            NetworkError: the formula is for known extents, or gives what no padding after the input can.
        """
        formula = self.network.output_dimensions_formulas.get(self.type)
        if formula is None:
            return None
        known = tuple(extent for extent in extents if isinstance(extent, int))
        if len(known) < len(extents):
            raise NetworkError(f"the formula for output dimensions needs known extents, found {list(extents)}")
        dilation: Ints = getattr(self, "dilation", (1,) * self.spatial_axes)
        found = integers(1, self.spatial_axes)(
            "the formula for output dimensions", formula(known, tuple(spans), self.stride, begin, dilation, self.name)
        )
        return tuple(self._end(*axis) for axis in zip(found, known, spans, self.stride, begin, end, strict=True))

    def _end(self, wanted: int, extent: int, span: int, stride: int, before: int, after: int) -> int:
        if wanted == (extent + before + after - span) // stride + 1:
            return after
        needed = (wanted - 1) * stride + span - extent - before
        if needed < 0:
            raise NetworkError(
                f"the formula for output dimensions gives {wanted} windows, fewer than fit an extent of {extent} with "
                f"padding {before}; take a part of the input with add_slice"
            )
        return needed

    def rounded_up(self, extents: Sequence[Dim], spans: Sequence[int], begin: Ints, end: Ints) -> Ints:
        """The padding after the input with which rounding the number of windows down gives what rounding up does."""
        if self.padding_mode not in ROUND_UP:
            return end
        return tuple(self._rounded_up(*axis) for axis in zip(extents, spans, self.stride, begin, end, strict=True))

    def _rounded_up(self, extent: Dim, span: int, stride: int, before: int, after: int) -> int:
        rest = (extent + (before + after - span)) % stride
        if not isinstance(rest, int):
            raise NetworkError(
                f"padding_mode: {self.padding_mode.name} with stride {stride} needs a known extent, found {extent}; "
                "use EXPLICIT_ROUND_DOWN"
            )
        extra = (stride - rest) % stride
        starts = (extent + (before + after + extra - span)) // stride * stride
        clipped = self.padding_mode is PaddingMode.CAFFE_ROUND_UP and isinstance(starts, int) and extra > 0
        return after if clipped and bounds(starts - extent)[0] >= before else after + extra
