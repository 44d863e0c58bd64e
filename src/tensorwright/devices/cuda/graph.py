"""CUDA graphs: many launches that are put into a stream by one call."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from ctypes import c_int, c_void_p

from tensorwright.base.errors import ExecutionError
from tensorwright.devices.cuda.context import Context
from tensorwright.devices.cuda.stream import CudaStream

_RELAXED = 2
"""While one is recorded, the collector may free memory in the same thread, which stricter modes forbid."""


class _UpdateResult(ctypes.Structure):
    """`CUgraphExecUpdateResultInfo`."""

    _fields_ = (("result", c_int), ("node", c_void_p), ("from_node", c_void_p))


class CudaGraph:
    """What `record` puts into a stream, ready to be launched again and again.

    record: puts work into the stream it is given; it must neither wait nor allocate. Dependent launches become
    programmatic edges.

    Raises:
        CudaError: the driver refuses something in it.
    """

    def __init__(self, context: Context, record: Callable[[CudaStream], object]) -> None:
        self._context = context
        graph = _captured(context, record)
        executable = c_void_p()
        try:
            context.call("making a graph", "cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, 0)
        finally:
            context.try_call("cuGraphDestroy", graph)
        self._executable = executable
        self._finalizer = weakref.finalize(self, _destroy, context, executable)
        self._finalizer.atexit = False

    def launch(self, stream: CudaStream) -> None:
        """Put all of it into a stream."""
        self._context.call("launching a graph", "cuGraphLaunch", self._executable, stream.handle)

    def update(self, record: Callable[[CudaStream], object]) -> bool:
        """Exchange addresses, numbers and grids for those of the same launches recorded anew.

        Returns False, and stays as it was, if the driver cannot take over the change: make a new graph then.
        """
        graph = _captured(self._context, record)
        try:
            result = _UpdateResult()
            return not self._context.try_call("cuGraphExecUpdate_v2", self._executable, graph, ctypes.byref(result))
        finally:
            self._context.try_call("cuGraphDestroy", graph)

    def close(self) -> None:
        """Give the graph back. Twice is once."""
        self._finalizer()


def _captured(context: Context, record: Callable[[CudaStream], object]) -> c_void_p:
    stream, graph = CudaStream(context), c_void_p()
    context.call("beginning a graph", "cuStreamBeginCapture_v2", stream.handle, _RELAXED)
    try:
        record(stream)
    except BaseException:
        context.try_call("cuStreamEndCapture", stream.handle, ctypes.byref(graph))
        if graph.value:
            context.try_call("cuGraphDestroy", graph)
        raise
    context.call("ending a graph", "cuStreamEndCapture", stream.handle, ctypes.byref(graph))
    return graph


def _destroy(context: Context, executable: c_void_p) -> None:
    try:
        context.try_call("cuGraphExecDestroy", executable)
    except ExecutionError:
        return  # A forked process owns no graphs.
