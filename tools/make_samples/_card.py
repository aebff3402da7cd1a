"""Writes one sample's table into cards.toml: sizes, checksums and versions are measured, never typed."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import tomllib
from pathlib import Path
from typing import Any

import tomli_w

SAMPLES = Path(__file__).resolve().parents[2] / "src" / "thalweg" / "samples"


def versions(*packages: str) -> str:
    """Python and the named packages with their installed versions, as one sentence."""
    found = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    return ", ".join([f"Python {platform.python_version()}", *found])


def write(path: Path, content: bytes) -> None:
    """Replace the file as a whole, so that a killed maker leaves the old one."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def write_card(name: str, files: dict[str, str], card: dict[str, Any]) -> None:
    """Put the table `name` into cards.toml.

    **Arguments:** `files` maps a file name in the samples folder to what it holds, the main file first; `card` has the
    other entries (what, origin, licence, made, units and whatever the sample needs).
    """
    index = SAMPLES / "cards.toml"
    cards = tomllib.loads(index.read_text(encoding="utf-8")) if index.exists() else {}
    table = {**card, "files": {}}
    for file, holds in files.items():
        content = (SAMPLES / file).read_bytes()
        table["files"][file] = {
            "holds": holds,
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    cards[name] = table
    write(index, tomli_w.dumps({key: cards[key] for key in sorted(cards)}).encode())
    total = sum(entry["bytes"] for entry in table["files"].values())
    print(f"{name}: {len(files)} files, {total} bytes")
