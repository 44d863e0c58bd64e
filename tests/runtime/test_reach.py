"""Copies between the memory of processes."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading

import numpy as np
import pytest

from tensorwright.runtime import reach
from tensorwright.runtime.exchange import Message, Messages
from tensorwright.runtime.reach import OtherMemory, Token, reached

CHILD = """
import sys, ctypes
from tensorwright.runtime.reach import reached
memory = reached(sys.argv[1])
if memory is not None:
    source, target, size = map(int, sys.argv[2:])
    between = ctypes.create_string_buffer(size)
    memory.read(ctypes.addressof(between), source, size)
    memory.write(target, ctypes.addressof(between), size)
print(memory is not None)
"""


def test_a_child_reads_and_writes(rng: np.random.Generator) -> None:
    source, token = rng.integers(0, 255, 3_000_001, np.uint8), Token()
    target = np.full_like(source, 255)
    given = [token.text, *(str(number) for number in (source.ctypes.data, target.ctypes.data, source.size))]
    done = subprocess.run([sys.executable, "-c", CHILD, *given], capture_output=True, text=True, check=True)
    if done.stdout.strip() == "False":
        pytest.skip("this system does not let a process reach into another one")
    np.testing.assert_array_equal(target, source)


def test_who_reads_something_else_has_not_reached_it() -> None:
    token = Token()
    assert reached(token.text) is not None
    process, address, text = token.text.split(":")
    assert reached(f"{process}:{address}:{'00' * 16}") is None
    assert reached(f"{process}:16:{text}") is None
    assert reached(f"{process}:16:{'00' * 16}") is None
    assert reached(f"{2**22 + 1}:{address}:{text}") is None  # No system numbers processes so.


def test_memory_that_is_not_there_is_said() -> None:
    here = np.zeros(64, np.uint8)
    with pytest.raises(OSError, match=r"memory of process \d+ at 0x10: Bad address"):
        OtherMemory(int(Token().text.split(":")[0])).read(here.ctypes.data, 16, 64)


def test_messages_of_all_lengths() -> None:
    ours, theirs = map(Messages, socket.socketpair())
    said = [Message([]), Message([*range(100_000)]), Message([2**63 - 1, -1], "é" * 1_000_000), Message([7], "no")]

    def say() -> None:
        for one in said:
            ours.send(*one)
        ours.close()

    thread = threading.Thread(target=say)
    thread.start()
    assert [theirs.receive() for _ in said] == said
    with pytest.raises(EOFError, match="the other process has closed its end"):
        theirs.receive()
    thread.join()
    theirs.close()


def test_messages_are_received_by_several_threads() -> None:
    ours, theirs = map(Messages, socket.socketpair())
    found: list[Message] = []

    def hear() -> None:
        try:
            while True:
                found.append(theirs.receive())
        except EOFError:
            return

    threads = [threading.Thread(target=hear) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(300):
        ours.send([number] * (number % 7), str(number))
    ours.close()
    for thread in threads:
        thread.join()
    assert sorted(found, key=lambda one: int(one.text)) == [Message([n] * (n % 7), str(n)) for n in range(300)]


def test_an_old_library_has_no_such_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach.ctypes, "CDLL", lambda *_, **__: object())
    assert reached(Token().text) is None
