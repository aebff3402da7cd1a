"""The exchangeable units of sequential networks, Equinox and PyTorch, read off from their layers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from thalweg.interop.torch import evaluating, pytorch
from thalweg.learning.model.modules import joined
from thalweg.learning.model.units import Slot, Units

_SHAPES = ((12,), (4, 12), (4, 6, 6), (4, 6, 6, 6))  # of one item, with channels first


class Affine(NamedTuple):
    """A dense or convolutional layer: its leaves, its number of outputs and inputs, and its place in the chain."""

    weight: int
    bias: int | None
    outputs: int
    inputs: int
    place: int


class Between(NamedTuple):
    """A layer without units of its own: slots that belong to the units before it, and whether it is odd."""

    slots: tuple[Slot, ...] = ()
    width: int | None = None
    odd: bool = False


class Barrier(NamedTuple):
    """A layer across which no units are exchanged, and why."""

    reason: str


Link = Affine | Between | Barrier


class Hidden(eqx.Module):
    """The activations of the hidden units of a sequential Equinox module, as the next layer meets them.

    A channel with several positions counts with their mean.
    """

    rest: Any
    places: tuple[tuple[int, int], ...] = eqx.field(static=True)

    def __call__(self, params: PyTree, x: Float[Array, "n ..."]) -> list[Float[Array, "n width"]]:
        return jax.vmap(lambda item: self._along(params, item)[0])(x)

    def output(self, params: PyTree, x: Float[Array, "n ..."]) -> Float[Array, "n m"]:
        """What the layers give one after another: the module's own output, if it calls them so."""
        return jax.vmap(lambda item: self._along(params, item)[1].reshape(-1))(x)

    def _along(self, params: PyTree, item: Array) -> tuple[list[Array], Array]:
        found, widths = [], dict(self.places)
        for place, layer in enumerate(layers_of(joined(params, self.rest))):
            if place in widths:
                found.append(item.reshape(widths[place], -1).mean(axis=1))
            item = layer(item)
        return found, item


class Chain(NamedTuple):
    """What the layers of a network say about its units: a proposal, to be held against the whole loss (`verify`).

    **Fields:** the `units` of each hidden layer; `notes` about layers that allow none; `hidden`, where the layers can
    be called one after another.
    """

    units: tuple[Units, ...]
    notes: tuple[str, ...]
    hidden: Hidden | None = None


def equinox_chain(module: Any, rest: Any) -> Chain:
    """The units of an Equinox module: `nn.MLP`, `nn.Sequential`, or any whose layers are its fields, in their order.

    Known are dense and convolutional layers, layer normalisation over units, pooling, dropout, and everything without
    arrays of its own (activations, reshapes). Other layers with arrays are barriers.

    **Arguments:** `module`, in evaluation mode; `rest`, as `modules.parted` gives it.
    """
    arrays = eqx.filter(module, eqx.is_inexact_array)
    sizes = [leaf.shape for leaf in jax.tree.leaves(arrays)]
    numbers = jax.tree.unflatten(jax.tree.structure(arrays), range(len(sizes)))
    numbered = joined(numbers, rest)
    layers = layers_of(numbered)
    links = [_equinox_link(layer, sizes, place) for place, layer in enumerate(layers)]
    units, notes, places = _units(links)
    callable_all = all(callable(layer) for layer in layers)
    return Chain(units, notes, Hidden(rest, places) if callable_all else None)


def torch_chain(module: Any) -> Chain:
    """The units of a PyTorch module whose children, in the order of their definition, are its layers.

    Known are dense and convolutional layers, layer normalisation over units, and every module without weights and
    buffers; other modules, and frozen weights, are barriers.
    """
    trained = sorted(name for name, weight in module.named_parameters() if weight.requires_grad)
    leaves = {name: place for place, name in enumerate(trained)}
    flat = [(name, part) for name, part in module.named_modules() if not list(part.children())]
    links = [_torch_link(name, part, leaves, place) for place, (name, part) in enumerate(flat)]
    units, notes, _ = _units(links)
    return Chain(units, notes)


def layers_of(module: Any) -> list[Any]:
    """The layers of an Equinox module, nested sequences laid flat."""
    if isinstance(module, eqx.nn.MLP):
        inner = [part for layer in module.layers[:-1] for part in (layer, module.activation)]
        return [*inner, module.layers[-1], module.final_activation]
    if isinstance(module, Sequence) and not isinstance(module, str):
        return [layer for part in module for layer in layers_of(part)]
    is_library_layer = type(module).__module__.startswith("equinox.nn") and not isinstance(module, eqx.nn.Sequential)
    if is_library_layer or not isinstance(module, eqx.Module):
        return [module] if callable(module) else []
    return [layer for part in vars(module).values() for layer in layers_of(part)]


def _equinox_link(layer: Any, sizes: list[tuple[int, ...]], place: int) -> Link:
    nn, name = eqx.nn, type(layer).__name__
    if isinstance(layer, nn.Linear | nn.Conv):
        weight: Any = layer.weight
        bias: Any = layer.bias
        expected = 2 if isinstance(layer, nn.Linear) else 2 + layer.num_spatial_dims
        if len(sizes[weight]) != expected or getattr(layer, "groups", 1) != 1:
            return Barrier(f"{name} {place + 1} is grouped or stacked")
        return Affine(weight, bias, sizes[weight][0], sizes[weight][1], place)
    if isinstance(layer, nn.LayerNorm | nn.RMSNorm) and len(layer.shape) == 1:
        own: list[Any] = [number for number in (layer.weight, layer.bias) if number is not None]
        return Between(tuple(Slot(number, 0) for number in own), layer.shape[0])
    if any(
        isinstance(leaf, int) and not isinstance(leaf, bool) for leaf in jax.tree.leaves(eqx.filter(layer, _number))
    ):
        if isinstance(layer, nn.PReLU):
            return Between()
        return Barrier(f"{name} is not a layer whose symmetry is known")
    return Between(odd=_is_odd(layer, jnp.asarray))


def _number(leaf: Any) -> bool:
    return type(leaf) is int


def _torch_link(name: str, part: Any, leaves: dict[str, int], at: int) -> Link:
    torch = pytorch()
    nn, own = torch.nn, {key for key, _ in part.named_parameters(recurse=False)}
    buffers = list(part.buffers(recurse=False))
    places = {key: f"{name}.{key}" if name else key for key in sorted(own)}
    numbers = {key: leaves[place] for key, place in places.items() if place in leaves}
    kind = type(part).__name__
    if not own and not buffers:
        with evaluating(part, torch):
            return Between(odd=_is_odd(part, lambda array: torch.tensor(array[None])))
    if buffers or len(numbers) < len(own):
        return Barrier(f"{name} ({kind}) has {'buffers' if buffers else 'frozen weights'}")
    if isinstance(part, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
        if getattr(part, "groups", 1) != 1:
            return Barrier(f"{name} ({kind}) is grouped")
        outputs, inputs = part.weight.shape[:2]
        return Affine(numbers["weight"], numbers.get("bias"), outputs, inputs, at)
    if isinstance(part, nn.LayerNorm) and len(part.normalized_shape) == 1:
        return Between(tuple(Slot(number, 0) for number in numbers.values()), part.normalized_shape[0])
    if isinstance(part, nn.PReLU) and part.num_parameters == 1:
        return Between()
    return Barrier(f"{name} ({kind}) is not a layer whose symmetry is known")


def _is_odd(layer: Any, convert: Callable) -> bool:
    """Whether a layer without numbers of its own turns its sign with that of its input, as measured."""
    for shape in _SHAPES:
        given = np.random.default_rng(0).normal(size=shape)
        try:
            ahead, turned = (np.asarray(layer(convert(sign * given))) for sign in (1.0, -1.0))
        except Exception:  # a layer takes the shapes that it takes
            continue
        eps = np.finfo(ahead.dtype).eps
        return bool(np.allclose(turned, -ahead, rtol=0.0, atol=8 * eps * np.abs(ahead).max(initial=1.0)))
    return False


def _units(links: list[Link]) -> tuple[tuple[Units, ...], tuple[str, ...], tuple[tuple[int, int], ...]]:
    """The units of each pair of neighbouring affine layers, notes on the others, and (place, width) where each ends."""
    affine = [(at, link) for at, link in enumerate(links) if isinstance(link, Affine)]
    units, notes, ends = [], [], []
    for number, ((first, own), (last, following)) in enumerate(itertools.pairwise(affine), start=1):
        between = [link for link in links[first + 1 : last] if isinstance(link, Between)]
        barriers = [link.reason for link in links[first + 1 : last] if isinstance(link, Barrier)]
        name = f"hidden layer {number}"
        if barriers:
            notes.append(f"{name}: no units are exchanged, because {barriers[0]}")
        elif following.inputs % own.outputs or any(b.width not in (None, own.outputs) for b in between):
            notes.append(f"{name}: {own.outputs} units do not fit the {following.inputs} inputs of the next layer")
        else:
            bias = () if own.bias is None else (Slot(own.bias, 0),)
            norms = tuple(slot for link in between for slot in link.slots)
            after = Slot(following.weight, 1, following.inputs // own.outputs)
            odd = all(link.odd for link in between)
            units.append(Units(name, own.outputs, (Slot(own.weight, 0), *bias, *norms, after), odd))
            ends.append((following.place, own.outputs))
    if not affine:
        notes.append("no dense or convolutional layers were found: declare the units of a Problem")
    return tuple(units), tuple(notes), tuple(ends)
