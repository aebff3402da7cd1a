"""Faults on purpose, for every test that needs them: `from faults import ...` (pytest's `pythonpath` holds `tests`)."""

from __future__ import annotations

import os
import random
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from thalweg.core.errors import ThalwegError

# Killing ------------------------------------------------------------------------------------------------------------


class Attempt:
    """One run of a command in a process of its own."""

    def __init__(self, command: list[str], **options: Any):
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options
        )

    def ended(self, seconds: float) -> int | None:
        """The exit code, or `None` if it is still running after so many seconds; shows its complaint if it failed."""
        try:
            complaint = self._process.communicate(timeout=seconds)[1]
        except subprocess.TimeoutExpired:
            return None
        if self._process.returncode > 0:
            print(complaint, file=sys.stderr)
        return self._process.returncode

    def kill(self) -> None:
        """SIGKILL, and the wait for it to have happened."""
        self._process.kill()
        self._process.communicate()


class ForkServer:
    """Starts attempts as forks of one process that has imported JAX, so that an attempt costs no start-up.

    **Arguments:** `function`, as `module:name`, with arguments that are text; it must not touch JAX at import.
    """

    def __init__(self, function: str):
        self._function = function

    def __enter__(self) -> ForkServer:
        path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, __file__, self._function],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=os.environ | {"PYTHONPATH": path, "PYTHONWARNINGS": "ignore"},  # JAX warns of forks; none has computed
        )
        return self

    def __exit__(self, *_: Any) -> None:
        self._process.communicate()  # end of its input: it leaves

    def start(self, *arguments: str) -> ForkedAttempt:
        """Call the function in a fork."""
        assert self._process.stdin
        self._process.stdin.write("\t".join(arguments) + "\n")
        return ForkedAttempt(int(self.line(120)), self)

    def line(self, seconds: float) -> str:
        """The next line from the server; the empty text if none comes in so many seconds."""
        assert self._process.stdout
        return self._process.stdout.readline() if select.select([self._process.stdout], [], [], seconds)[0] else ""


class ForkedAttempt:
    """One call in a fork of a `ForkServer`."""

    def __init__(self, pid: int, server: ForkServer):
        self._pid, self._server, self._code = pid, server, None

    def ended(self, seconds: float) -> int | None:
        """The exit code, or `None` if it is still running after so many seconds."""
        if self._code is None and (line := self._server.line(seconds)):
            self._code = int(line)
        return self._code

    def kill(self) -> None:
        """SIGKILL, and the wait for it to have happened."""
        if self._code is None:
            os.kill(self._pid, signal.SIGKILL)
            assert self.ended(60) is not None


def kill_and_resume(
    start: Callable[[], Attempt | ForkedAttempt],
    run_dir: Path,
    *,
    progress: Path,
    kills: int = 15,
    seed: int,
    window: tuple[float, float] = (0.02, 0.3),
    seconds: float = 120.0,
) -> dict[str, bytes]:
    """Start something again and again, kill it `kills` times at random moments, and let the last attempt finish.

    Every other kill comes soon after the start, wherever the attempt then is; the ones between come soon after the
    attempt has replaced the file `progress`, so that some meet it at work however slow the machine is.

    **Arguments:** `start`, which begins or resumes (a closure over `Attempt([...])` or `ForkServer.start`); `run_dir`,
    where it keeps its files; `window`, how soon, in seconds; `seconds`, for the wait for progress and the last attempt.

    **Returns:** the bytes of every file in `run_dir` at the end, by its relative name.
    """
    moments = random.Random(seed)
    for kill in range(kills):
        before, attempt = _stamp(progress), start()
        code, deadline = None, time.monotonic() + seconds
        while kill % 2 and code is None and _stamp(progress) == before:
            assert time.monotonic() < deadline, f"attempt {kill + 1} wrote no {progress.name} in {seconds} seconds."
            code = attempt.ended(0.01)
        code = attempt.ended(moments.uniform(*window)) if code is None else code
        assert code is None, f"the run ended with {code} after {kill} of {kills} kills: make it longer."
        attempt.kill()
    code = start().ended(seconds)
    assert code == 0, f"after {kills} kills the run did not finish: exit code {code}."
    files = {str(path.relative_to(run_dir)): path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    stale = [name for name in files if name.endswith(".tmp")]
    assert not stale, f"temporary files were left behind: {', '.join(stale)}."
    return files


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


# Damaging files -----------------------------------------------------------------------------------------------------


class Damage(NamedTuple):
    """What was done to a file, and what it then holds."""

    name: str
    content: bytes


def truncations(path: Path, *, count: int = 20) -> Iterator[Damage]:
    """The file cut off: empty, after one byte, in between, before its last byte."""
    content = path.read_bytes()
    cuts = {0, 1, len(content) - 1, *(len(content) * part // count for part in range(1, count))}
    for cut in sorted(cut for cut in cuts if 0 <= cut < len(content)):
        yield Damage(f"cut after {cut} of {len(content)} bytes", content[:cut])


_NUMBER = re.compile(rb"(?<![\w.])[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?(?![\w.])")


def mutations(path: Path, *, seed: int = 0, count: int = 10) -> Iterator[Damage]:
    """The file with `count` each of flipped bits, lost, doubled and swapped lines, and numbers made NaN, huge or text.

    Besides these once: Windows line ends, a byte-order mark, a zero byte, bytes that are no UTF-8, and rubbish.
    """
    content, chance = path.read_bytes(), random.Random(seed)
    lines = content.splitlines(keepends=True)
    numbers = list(_NUMBER.finditer(content))
    for _ in range(count):
        at, bit = chance.randrange(len(content)), chance.randrange(8)
        yield Damage(
            f"bit {bit} of byte {at} flipped", content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]
        )
        row, other = chance.randrange(len(lines)), chance.randrange(len(lines))
        yield Damage(f"line {row + 1} lost", b"".join(lines[:row] + lines[row + 1 :]))
        yield Damage(f"line {row + 1} doubled", b"".join(lines[: row + 1] + lines[row:]))
        swapped = list(lines)
        swapped[row], swapped[other] = swapped[other], swapped[row]
        yield Damage(f"lines {row + 1} and {other + 1} swapped", b"".join(swapped))
        for junk in (b"nan", b"1e999", b"-1", b"oops") if numbers else ():
            start, end = chance.choice(numbers).span()
            yield Damage(f"the number at byte {start} made {junk.decode()}", content[:start] + junk + content[end:])
    yield Damage("Windows line ends", content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    yield Damage("a byte-order mark in front", b"\xef\xbb\xbf" + content)
    yield Damage("a zero byte in front", b"\0" + content)
    yield Damage("bytes that are no UTF-8 at the end", content + b"\xff\xfe\xfa")
    yield Damage("rubbish", bytes(chance.randrange(256) for _ in range(200)))


def only_our_errors(parser: Callable[[Path], Any], path: Path, folder: Path, **options: Any) -> dict[str, str]:
    """Every truncation and mutation of `path` is read, or refused with one sentence of ours that names the file.

    **Arguments:** `parser`, from a path to anything; `folder`, for the damaged copies, which keep the name of the file;
    `options` of `mutations`.

    **Returns:** the sentence for each damage that was refused, for the test to look at.

    **Raises:** `AssertionError` naming the damage behind any other exception, or a sentence without the file's name.
    """
    refused = {}
    for damage in [*truncations(path), *mutations(path, **options)]:
        copy = folder / path.name
        copy.write_bytes(damage.content)
        try:
            parser(copy)
        except ThalwegError as error:
            sentence = str(error)
            refused[damage.name] = sentence
            assert path.name in sentence, f"{damage.name}: the sentence does not name the file: {sentence}"
            assert "\n" not in sentence, f"{damage.name}: more than one line: {sentence}"
        except Exception as error:
            raise AssertionError(f"{path.name}, {damage.name}: {type(error).__name__}: {error}") from error
    return refused


# Planting NaN -------------------------------------------------------------------------------------------------------


def planted_nan(rule: Callable, at: int, leaf: Callable[[Any], Any]) -> Callable:
    """A gradient rule of `train` whose gradient at `leaf(gradients)` is NaN in step `at`, counted from one."""
    import equinox as eqx
    import jax.numpy as jnp

    def planted(model, batch, carry, step, key):
        slopes, carry, metrics = rule(model, batch, carry, step, key)
        found = leaf(slopes)
        return eqx.tree_at(leaf, slopes, jnp.where(step + 1 == at, jnp.nan * found, found)), carry, metrics

    return planted


def _serve(function: str) -> None:
    """For each line on standard input: call the function in a fork, print its process number and how it ended."""
    import importlib
    import traceback

    module, _, name = function.partition(":")
    call = getattr(importlib.import_module(module), name)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                call(*line.rstrip("\n").split("\t"))
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1])
