"""`thalweg doctor`: what this installation can do, what is missing and how to get it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from thalweg.console import Console, columns, looking
from thalweg.core.errors import InputError, ThalwegError

_FOR_DEVELOPERS = {"test", "lint", "docs", "dev"}
_LITTLE_DISK = 1e9  # bytes; below this a download or a longer run may not fit


@click.command()
@click.option("--device", type=click.Choice(["cpu", "gpu"]), help="Say whether this device can be used.")
@looking
def command(console: Console, device: Any) -> None:
    """Say what this installation can do: versions, devices, precision, cache, and what is missing.

    Ends with 1 if something is broken that everything needs.

    \b
    Example:
      thalweg doctor
      thalweg doctor --device gpu
    """
    broken: list[str] = []
    advice: list[str] = []
    told = {
        "thalweg": metadata.version("thalweg"),
        "python": f"{platform.python_version()} in {sys.prefix}",
        "machine": _machine(),
        "jax": _jax(device, broken, advice),
        "packages": _packages(broken),
        "extras": _extras(advice),
        "data": _data(broken),
        "runs": _runs(advice),
    }
    result = {"ok": not broken, **told, "broken": broken, "advice": advice}
    if broken:
        click.echo(f"Error: {broken[0]}", err=True)
        result, console.exit_code = {"error": broken[0], **result}, 1
    console.answer(result, _for_people(told, broken, advice))


def _machine() -> dict[str, Any]:
    from thalweg.runs.manifest import cpu

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    return {"platform": platform.platform(), "cpu": cpu(), "cores": cores, "memory_bytes": memory}


def _jax(device: Any, broken: list[str], advice: list[str]) -> dict[str, Any]:
    """What JAX computes with, found out by computing."""
    from thalweg import session

    refused: list[str] = []
    try:
        with session.start(device, note=refused.append) as cache:
            import jax
            import jax.numpy as jnp

            devices = [f"{each.platform}: {each.device_kind}" for each in jax.devices()]
            fine = float(jnp.asarray(1.0) + jnp.asarray(1e-15)) > 1.0
            told = {"version": jax.__version__, "backend": jax.default_backend(), "devices": devices}
    except (ThalwegError, ImportError, RuntimeError) as error:
        broken.append(" ".join(str(error).split()))
        return {}
    advice.extend(refused)
    if not fine:
        broken.append("JAX computes in single precision although double precision is on: reinstall jax and jaxlib.")
    if Path("/dev/nvidia0").exists() and told["backend"] == "cpu" and device is None:
        advice.append(f"There is an NVIDIA GPU that JAX does not use: {session.gpu_remedy()}.")
    root = session.cache_root()
    kept = {"cache": str(cache) if cache else None, "cache_bytes": _bytes_below(root) if root else 0}
    return told | {"precision": "float64 on the command line" if fine else "float32"} | kept


def _bytes_below(root: Path) -> int:
    return sum(file.stat().st_size for file in root.rglob("*") if file.is_file())


def _requirements() -> Iterator[tuple[str, str | None]]:
    """Each distribution that thalweg asks for, with the extra that asks, if one does."""
    for line in metadata.requires("thalweg") or []:
        name, marker = re.match(r"[\w.-]+", line), re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", line)
        # A marker on Python's version gives the same name twice, which does no harm.
        if name and name[0].lower() != "thalweg":
            yield name[0], marker[1] if marker else None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _packages(broken: list[str]) -> dict[str, str]:
    found = {name: _version(name) for name, extra in _requirements() if extra is None}
    missing = [name for name, version in found.items() if version is None]
    if missing:
        broken.append(f"Missing: {', '.join(missing)}. Reinstall with pip install --force-reinstall thalweg.")
    return {name: version for name, version in found.items() if version is not None}


def _extras(advice: list[str]) -> dict[str, dict[str, Any]]:
    extras: dict[str, dict[str, Any]] = {}
    for name, extra in _requirements():
        if extra is not None and extra not in _FOR_DEVELOPERS:
            extras.setdefault(extra, {})[name] = _version(name)
    for extra, packages in extras.items():
        if missing := [name for name, version in packages.items() if version is None]:
            advice.append(f"The extra {extra} lacks {', '.join(missing)}: pip install 'thalweg[{extra}]'")
    return extras


def _data(broken: list[str]) -> dict[str, Any]:
    from thalweg import datasets

    try:
        mirror = datasets.mirror()
    except InputError as error:
        broken.append(str(error))
        return {}
    here = [name for name, each in datasets.catalogue().items() if datasets.where(each) in ("mirror", "downloaded")]
    return {"THALWEG_DATA": str(mirror) if mirror else None, "home": str(datasets.home()), "here": here}


def _runs(advice: list[str]) -> dict[str, Any]:
    from thalweg.runs import runs_root

    root = runs_root().absolute()
    above = next(folder for folder in (root, *root.parents) if folder.is_dir())
    free = shutil.disk_usage(above).free
    if free < _LITTLE_DISK:
        advice.append(f"Only {free / 1e9:.1f} GB are free at {above}: make room, or set THALWEG_RUNS to another disk.")
    if not os.access(above, os.W_OK):
        advice.append(f"{above} cannot be written: set THALWEG_RUNS to a folder of yours.")
    return {"root": str(root), "free_bytes": free}


def _for_people(told: dict[str, Any], broken: list[str], advice: list[str]) -> str:
    from thalweg.datasets import size

    machine, jax, data, runs = told["machine"], told["jax"], told["data"], told["runs"]
    rows = [("thalweg", told["thalweg"]), ("python", told["python"]), ("platform", machine["platform"])]
    memory = size(machine["memory_bytes"]) if machine["memory_bytes"] else "unknown"
    rows.append(("machine", f"{machine['cpu']}, {machine['cores']} cores, {memory} of memory"))
    if jax:
        rows.append(("jax", f"{jax['version']} on {', '.join(jax['devices'])}; {jax['precision']}"))
        rows.append(("compiled", f"{jax['cache']} ({size(jax['cache_bytes'])})" if jax["cache"] else "not kept"))
    if data:
        rows.append(("data", data["THALWEG_DATA"] or f"{data['home']} (THALWEG_DATA is not set)"))
        rows.append(("data sets", f"{len(data['here'])} are here; see thalweg data list"))
    rows.append(("runs", f"{runs['root']} ({size(runs['free_bytes'])} free)"))
    rows.append(("packages", ", ".join(f"{name} {version}" for name, version in told["packages"].items())))
    whole = [extra for extra, packages in told["extras"].items() if all(packages.values())]
    rows.append(("extras", ", ".join(whole) or "none"))
    lines = [f"Broken: {sentence}" for sentence in broken] + advice
    return "\n".join([columns(rows), "", *(lines or ["Nothing is missing."])])
