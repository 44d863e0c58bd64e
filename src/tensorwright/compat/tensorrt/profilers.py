"""Profilers."""

from __future__ import annotations

import sys


class IProfiler:
    """Hears how long layers take; subclass it."""

    def report_layer_time(self, layerName: str, ms: float) -> None:
        """One layer took so many milliseconds."""
        raise NotImplementedError(f"{type(self).__name__} must implement report_layer_time(layerName, ms)")


class Profiler(IProfiler):
    """Adds up the times of layers.

    timing_iter: the number of inferences, by which the times are divided for `print_layer_times`.
    """

    def __init__(self, timing_iter: int = 1) -> None:
        self.timing_iter = timing_iter
        self.times: dict[str, float] = {}

    def report_layer_time(self, layerName: str, ms: float) -> None:
        """Add the time of one layer."""
        self.times[layerName] = self.times.get(layerName, 0.0) + ms

    def print_layer_times(self) -> None:
        """One line per layer, in milliseconds per inference, and the sum."""
        width = max(map(len, [*self.times, "all layers"]))
        for name, time in [*self.times.items(), ("all layers", sum(self.times.values()))]:
            sys.stdout.write(f"{name:<{width}} {time / self.timing_iter:10.4f} ms\n")
