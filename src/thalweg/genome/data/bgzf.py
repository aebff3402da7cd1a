"""Blocked gzip, the form of packed files that genome browsers and tabix can seek in."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

from thalweg.core.atomic import write_atomic

# The largest block whose packed form surely fits the two bytes of its length (SAM specification, 4.1).
_BLOCK = 0xFF00
_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write a text file whole or not at all, packed in blocks if its name ends in `.gz` or `.bgz`.

    **Raises:** `ThalwegError` if the place cannot be written.
    """
    content = text.encode("utf-8", "surrogateescape")
    return write_atomic(path, blocked(content) if str(path).endswith((".gz", ".bgz")) else content)


def blocked(content: bytes) -> bytes:
    """Bytes packed as bgzip does it: gzip members of at most 64 kB that say their own length, and an empty one."""
    return b"".join(_member(content[at : at + _BLOCK]) for at in range(0, len(content), _BLOCK)) + _END


def _member(block: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    packed = packer.compress(block) + packer.flush()
    head = struct.pack("<4BI2BH2BHH", 31, 139, 8, 4, 0, 0, 255, 6, 66, 67, 2, len(packed) + 25)
    return head + packed + struct.pack("<II", zlib.crc32(block), len(block))
