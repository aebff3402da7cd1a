"""Frames into extended XYZ files: whole, or frame by frame along a trajectory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from io import StringIO
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from thalweg.atoms.data.ase_atoms import to_atoms
from thalweg.atoms.data.check import sound
from thalweg.atoms.data.frame import Frame
from thalweg.core.atomic import unwritable, write_atomic
from thalweg.core.errors import InputError, require


def write(path: str | os.PathLike[str], frames: Sequence[Frame]) -> Path:
    """Write frames to an extended XYZ file with ASE's keys, whole or not at all; positions to 1e-8 A.

    **Returns:** the path.

    **Raises:** `InputError` for a frame that cannot be atoms in space; `ThalwegError` if the place cannot be written.
    """
    if not frames:
        raise InputError(f"{path}: there are no frames to write.")
    return write_atomic(path, "".join(text_of_frame(frame) for frame in frames))


def text_of_frame(frame: Frame) -> str:
    """The lines of one frame in extended XYZ."""
    require("ase", extra="atoms")
    from ase.io.extxyz import write_xyz

    text = StringIO()
    write_xyz(text, to_atoms(sound(frame)))
    return text.getvalue()


class Trajectory:
    """An extended XYZ file that grows: every frame is on the disk, whole, when `append` returns.

    **Arguments:** `path`, whose folder is made; `frames`, how many of those already there to keep, the rest being cut
    off: `None` for all whole ones (what a killed process left half written goes), 0 to begin anew.

    **Raises:** `InputError` if the file holds fewer whole frames than that, or something else than frames.
    """

    def __init__(self, path: str | os.PathLike[str], frames: int | None = 0):
        self.path = Path(path)
        ends = whole_frames(self.path) if self.path.exists() and frames != 0 else []
        if frames is not None and frames > len(ends):
            raise InputError(f"{self.path}: holds {len(ends)} whole frames, but {frames} are to be gone on from: begin "
                             "the run anew.")  # fmt: skip
        self.frames = len(ends) if frames is None else frames
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = open(self.path, "ab", buffering=0)  # noqa: SIM115 (it is closed by `close`)
            self._file.truncate(ends[self.frames - 1] if self.frames else 0)
            os.fsync(self._file.fileno())
        except OSError as error:
            raise unwritable(self.path, error) from error

    def append(self, frames: Iterable[Frame]) -> None:
        """Add frames at the end, and wait until they are on the disk.

        **Raises:** `ThalwegError` if the disk is full; the file then ends with the last whole frame before.
        """
        texts = [text_of_frame(frame).encode() for frame in frames]
        end = os.fstat(self._file.fileno()).st_size
        try:
            rest = memoryview(b"".join(texts))
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(end)
            raise unwritable(self.path, error) from error
        self.frames += len(texts)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Trajectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def whole_frames(path: Path) -> list[int]:
    """Where each whole frame of an extended XYZ file ends, in bytes; what follows the last of them is cut off.

    **Raises:** `InputError` with the line, where something else than the number of atoms stands before the last line.
    """
    ends, line_number = [], 0
    try:
        with open(path, "rb") as file:
            while line := file.readline():
                line_number += 1
                if not line.endswith(b"\n"):
                    break
                try:
                    count = int(line)
                except ValueError:
                    raise InputError(f"{path}, line {line_number}: {line[:40]!r} stands where the number of atoms "
                                     "should: this is no trajectory, so name another file.") from None  # fmt: skip
                lines = [file.readline() for _ in range(count + 1)]
                if not lines[-1].endswith(b"\n"):
                    break
                line_number += count + 1
                ends.append(file.tell())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): check its permissions.") from error
    return ends
