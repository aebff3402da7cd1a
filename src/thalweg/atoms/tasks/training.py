"""From labelled frames to a trained potential with its card."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from thalweg import samples
from thalweg.atoms.data.check import apart, labelled
from thalweg.atoms.data.frame import Frame, elements_of
from thalweg.atoms.data.read import SAMPLES, read
from thalweg.atoms.data.reference import reference_energies, split_isolated
from thalweg.atoms.data.units import units_agree
from thalweg.atoms.model.build import Kind
from thalweg.atoms.model.committee import Committee
from thalweg.atoms.model.gto import Shape
from thalweg.atoms.model.network import AbstractNetwork
from thalweg.atoms.tasks.evaluate import calibration, evaluate
from thalweg.atoms.tasks.train import Recipe, fit, started
from thalweg.atoms.tasks.trained import Trained, described, save_trained
from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook

Note = Callable[[str], object]


class Material(NamedTuple):
    """What a potential is made from.

    **Fields:** `frames` to learn from; `valid`, held out; `energies` of the isolated elements in eV, and `how` they
    were found; `source`, in words.
    """

    frames: list[Frame]
    valid: list[Frame]
    energies: dict[int, float]
    how: str
    source: str


def material(
    source: str,
    *,
    valid: str | None = None,
    isolated: str | None = None,
    count: int | None = None,
    seed: int = 0,
    units: Any = "check",
    note: Note | None = None,
    **keys: Any,
) -> Material:
    """Read, check and part the frames of a training.

    Frames whose info says `split` are taken at their word: `train` to learn from, `valid` to hold out, others not at
    all. Otherwise a twentieth, at least one and at most 100 frames, is held out at random.

    **Arguments:** `source` and `valid`, as `read` knows them; `isolated`, a source of frames of one atom, where the
    first one has none; `count`, how many frames to learn from, drawn at random; `units`, `trust` to pass over labels
    whose units contradict each other; `keys`, for `read`.

    **Raises:** `InputError` for frames without labels, overlapping atoms, units that contradict each other, or too few
    frames.
    """
    told = note or (lambda sentence: None)
    frames, single = split_isolated(read(source, note=told, **keys))
    single += _isolated(source, isolated, told)
    if not frames:
        raise InputError(f"{source}: holds isolated atoms only: name a file of molecules or crystals.")
    frames, held = _parted(frames, None if valid is None else read(valid, note=told, **keys), count, seed)
    for part in (frames, held):
        labelled(part)
        apart(part)
    units_agree(frames, units, note=told)
    energies, how = reference_energies(frames, single)
    told(how)
    elements = elements_of(frames)
    unknown = sorted(set(elements_of(held)) - set(elements))
    if unknown:
        raise InputError(f"{held[0].place}: the held-out frames have elements that no other frame has: {unknown}.")
    return Material(frames, held, {number: energies[number] for number in elements}, how, source)


def trained_potential(
    given: Material,
    *,
    kind: Kind,
    shape: Shape,
    recipe: Recipe,
    members: int,
    seed: int,
    hooks: Callable[[str, str], tuple[Hook, ...]],
) -> Trained:
    """Train a network, or a committee of several, and measure it on the held-out frames.

    **Arguments:** `hooks`, from the words for a progress bar and the name of a checkpoint to the hooks of one training.

    **Raises:** `WalkError` where a training breaks.
    """
    networks = []
    for member in range(members):
        words = "training" if members == 1 else f"training {member + 1} of {members}"
        start = started(kind, shape, given.frames, given.energies, seed=seed + member, turned=recipe.turned)
        name = "state" if member == 0 else f"state_{member}"
        networks.append(fit(start, given.frames, given.energies, recipe, seed=seed + member, hooks=hooks(words, name)))
    net: AbstractNetwork = networks[0] if members == 1 else Committee.of(networks)
    found = Trained(net, dict(given.energies), {})
    if isinstance(net, Committee):
        kind_of = net.calibration.dtype
        net = eqx.tree_at(lambda each: each.calibration, net, jnp.asarray(calibration(found, given.valid), kind_of))
        found = found._replace(net=net)
    return found._replace(card=_card(given, found, kind, shape, recipe, members, seed))


def kept(folder: Path, trained: Trained, kind: Kind, shape: Shape) -> Path:
    """Write a potential into a run's directory."""
    from thalweg.atoms.tasks.trained import FILE

    atoms = None
    if kind == "naive":
        atoms = int(trained.card["atoms_per_frame"])
    return save_trained(folder / FILE, trained, kind=kind, shape=shape, atoms=atoms)


def parameters(net: AbstractNetwork) -> int:
    """How many numbers a network holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(net, eqx.is_inexact_array)))


def _card(
    given: Material, found: Trained, kind: str, shape: Shape, recipe: Recipe, members: int, seed: int
) -> dict[str, Any]:
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "data": given.source,
        "frames": len(given.frames),
        "held_out_frames": len(given.valid),
        "atoms_per_frame": max(len(frame.numbers) for frame in given.frames),
        "isolated_atoms_eV": described(given.energies),
        "isolated_atoms": given.how,
        "model": kind,
        "shape": dataclasses.asdict(shape),
        "recipe": dataclasses.asdict(recipe),
        "members": members,
        "parameters": parameters(found.net),
        "random_seed": seed,
        "held_out": evaluate(found, given.valid),
    }


def _isolated(source: str, isolated: str | None, note: Note) -> list[Frame]:
    if isolated is not None:
        single = split_isolated(read(isolated, note=note))[1]
        if not single:
            raise InputError(f"{isolated}: holds no frame of one atom: name the file of isolated atoms.")
        return single
    name = SAMPLES.get(source.partition("@")[0])
    if name is None:
        return []
    from ase.data import atomic_numbers

    known: Mapping[str, float] = samples.card(name)["isolated_atoms"]
    zero = np.zeros((3, 3))
    return [
        Frame(np.array([atomic_numbers[each]]), np.zeros((1, 3)), zero, energy=energy, place=f"the card of {name}")
        for each, energy in known.items()
    ]


def _parted(
    frames: list[Frame], valid: Sequence[Frame] | None, count: int | None, seed: int
) -> tuple[list[Frame], list[Frame]]:
    split = [str(frame.info.get("split", "")).lower() for frame in frames]
    told = any(word == "train" for word in split)
    learnt = [frame for frame, word in zip(frames, split, strict=True) if not told or word == "train"]
    held = list(valid) if valid is not None else []
    if told and valid is None:
        held = [frame for frame, word in zip(frames, split, strict=True) if word in ("valid", "val", "validation")]
    order = np.random.default_rng(seed).permutation(len(learnt))
    learnt = [learnt[place] for place in order]
    if not held:
        many = min(100, max(1, len(learnt) // 20))
        held, learnt = learnt[:many], learnt[many:]
    if count is not None:
        if not 1 <= count <= len(learnt):
            raise InputError(f"train: {count} frames are wanted of {len(learnt)}: choose fewer.")
        learnt = learnt[:count]
    if not learnt or not held:
        raise InputError("train: one frame cannot be learnt from and held out at once: give at least two.")
    return learnt, held
