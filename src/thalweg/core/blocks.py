"""Files read whole, but never past a limit."""

from __future__ import annotations

from typing import Protocol

_BLOCK = 2**22


class Readable(Protocol):
    """Whatever bytes come from: a file, an archive that is unpacked."""

    def read(self, size: int, /) -> bytes: ...


def read_at_most(file: Readable, most: int) -> bytes:
    """What is left in a file; more than `most` bytes come back where it holds more than that, and not all of them.

    One `read(most)` would ask for the memory of all of them before it knows how many there are.
    """
    content = bytearray()
    while len(content) <= most and (block := file.read(_BLOCK)):
        content += block
    return bytes(content)
