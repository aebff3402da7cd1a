"""What a command-line process sets up: the device that was asked for, precision, and a private cache."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
from command_line import adder, call, isolate

from thalweg import session
from thalweg.console import Console, common
from thalweg.core.errors import ThalwegError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(tmp_path, monkeypatch)


@pytest.fixture
def add(monkeypatch: pytest.MonkeyPatch) -> Callable[[click.Command], None]:
    return adder(monkeypatch)


def test_a_missing_gpu_is_an_error_and_never_the_cpu(add):
    import jax

    if jax.default_backend() == "gpu":
        pytest.skip("there is a GPU here")
    reached = []

    @click.command("compute")
    @common
    def compute(console: Console) -> None:
        reached.append(console.device)

    add(compute)
    answer = call("compute", "--device", "gpu")
    assert answer.exit_code == 1
    assert answer.stderr.startswith("Error: --device gpu: JAX finds no GPU, only the cpu: ")
    assert answer.stderr.count("\n") == 1
    assert reached == []
    assert call("compute", "--device", "cpu").exit_code == 0
    assert reached == ["cpu"]
    assert call("compute", "--device", "tpu").exit_code == 2


def test_a_command_has_double_precision_and_leaves_the_process_as_it_was(add):
    import jax
    import jax.numpy as jnp

    found = []

    @click.command("compute")
    @common
    def compute(console: Console) -> None:
        found.append(jnp.ones(()).dtype)

    add(compute)
    assert call("compute").exit_code == 0
    assert found == [jnp.float64]
    assert jnp.ones(()).dtype == jnp.float32
    assert jax.config.jax_compilation_cache_dir is None  # type: ignore[attr-defined]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_cache_is_private(tmp_path, monkeypatch):
    folder = tmp_path / "cache" / "xla-1"
    session.make_private(folder)
    assert mode(folder) == mode(folder.parent) == 0o700
    folder.chmod(0o777)
    session.make_private(folder)
    assert mode(folder) == 0o700
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(ThalwegError, match=r"others may write to .*xla-1: name a folder of your own"):
        session.make_private(folder)


def test_a_cache_that_others_can_replace_is_refused(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(ThalwegError, match="others may write"):
        session.make_private(tmp_path / "open" / "xla-1")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(ThalwegError, match="is no folder of its own"):
        session.make_private(tmp_path / "link")


def test_a_refused_cache_is_said_and_the_command_goes_on(add, tmp_path, monkeypatch):
    @click.command("compute")
    @common
    def compute(console: Console) -> None:
        console.answer({}, "computed")

    add(compute)
    (tmp_path / "file").touch()
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path / "file"))
    answer = call("compute")
    assert answer.stdout == "computed\n"
    assert answer.stderr.startswith("Compiled programs are not kept: ")


def test_the_cache_is_keyed_by_the_processor(monkeypatch):
    keys = set()
    for flags in ("sse2 avx2", "sse2 avx2 avx512f", "avx2 sse2"):
        monkeypatch.setattr(session, "_cpu_lines", lambda flags=flags: ["model name\t: A", f"flags\t\t: {flags}"])
        session.cpu_key.cache_clear()
        keys.add(session.cpu_key())
    session.cpu_key.cache_clear()
    assert len(keys) == 2  # the order in which the kernel lists features says nothing


def test_programs_are_kept_and_a_damaged_one_is_mended(tmp_path, monkeypatch, capsys):
    import jax
    import jax.numpy as jnp

    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(session, "_WORTH_KEEPING_SECONDS", 0.0)

    def compiled() -> dict[Path, tuple[int, int]]:
        """Compile one program, new for JAX and the same for its cache; the files with their sizes and times."""
        with session.start() as folder:
            assert folder is not None
            clock = session.CompileClock()
            jax.jit(lambda x: jnp.sin(x) @ x)(np.ones((9, 9)))
            assert clock.seconds > 0
            stats = {path: path.stat() for path in folder.glob("jit__lambda*")}
        return {path: (found.st_size, found.st_mtime_ns) for path, found in stats.items()}

    first = compiled()
    assert len(first) == 1
    assert compiled() == first  # read, not written anew
    (path,) = first
    damaged = path.read_bytes()[:-20]  # as a process leaves it that is killed while it writes
    path.write_bytes(damaged)
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # as in a process of its own
        mended = compiled()
    assert mended[path][0] > len(damaged)  # it holds the compile time too, so its length varies by a few bytes
    assert capsys.readouterr().err == ""
    assert compiled() == mended


def test_what_numba_compiles_is_counted_too():
    import numba

    session.hear_kernels()
    clock = session.CompileClock()
    before = clock.seconds
    assert numba.njit(lambda x: x + 1)(1) == 2
    assert clock.seconds > before
