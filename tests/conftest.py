"""Fixtures that every test may ask for."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Ctrl-C works in the tests also where a shell started them in the background, which ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


_MAPPINGS = Path("/proc/self/maps")


@pytest.fixture(scope="module", autouse=True)
def few_mappings() -> Iterator[None]:
    """Every compiled program keeps its memory mappings, and Linux ends a process at 65,530 of them."""
    yield
    if _MAPPINGS.exists() and _MAPPINGS.read_bytes().count(b"\n") > 15_000:
        import jax

        jax.clear_caches()
        gc.collect()


@pytest.fixture
def x64() -> Iterator[None]:
    """Double precision for one test; the library itself never turns it on."""
    import jax

    with jax.enable_x64(True):
        yield


@pytest.fixture
def data() -> Path:
    """The folder of full data sets, or a visible skip that says how to get it."""
    named = os.environ.get("THALWEG_DATA")
    if not named:
        pytest.skip("needs full data sets: set THALWEG_DATA to a folder that holds them (see `thalweg data list`)")
    folder = Path(named).expanduser().resolve()
    # A folder that was asked for and is not there is a mistake to be seen, not a reason to skip.
    assert folder.is_dir(), f"THALWEG_DATA names {folder}, which is not a folder: correct it or unset it."
    return folder
