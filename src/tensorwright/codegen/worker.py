"""What a process that compiles modules does.

It reads, from standard input, the length of a module (8 bytes, little-endian) and its text; it writes, to standard
output, a status byte (0 for success), the length of the answer and the object code or the message of the error.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable

from tensorwright.base.errors import TensorwrightError


def serve(compile_module: Callable[[str], bytes]) -> None:
    """Answer until the input ends."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while len(header := source.read(8)) == 8:
        text = source.read(struct.unpack("<Q", header)[0]).decode()
        try:
            status, answer = 0, compile_module(text)
        except TensorwrightError as error:
            status, answer = 1, str(error).encode()
        sink.write(struct.pack("<BQ", status, len(answer)) + answer)
        sink.flush()
