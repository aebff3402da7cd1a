"""How tests call the program: in this process, away from the user's folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from thalweg.cli import main


def isolate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in `tmp_path`, keep no compiled programs, and see none of the user's settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THALWEG_CACHE", "off")
    for name in ("THALWEG_RUNS", "THALWEG_DATA", "THALWEG_DEBUG"):
        monkeypatch.delenv(name, raising=False)


def call(*words: str) -> Result:
    """`thalweg` with these words."""
    return CliRunner().invoke(main, words)


def adder(monkeypatch: pytest.MonkeyPatch) -> Callable[[click.Command], None]:
    """Adds a command to the program for one test."""
    return lambda command: monkeypatch.setitem(main.commands, command.name or "", command)
