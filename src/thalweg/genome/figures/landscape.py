"""The way down a training as a landscape: from the first weights to the last, and what is said of a gene there."""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from thalweg.genome.data.labels import LabelledGene
from thalweg.genome.energy import SpliceLoss
from thalweg.genome.figures.sites import example
from thalweg.genome.model.network import SpliceNetwork
from thalweg.genome.tasks.evaluate import SITES
from thalweg.genome.tasks.prepare import on_device, packed
from thalweg.report import Marker, Slider

_FRAMES = 31
_FAR = 1.2  # of the way from the first to the last weights
_MOST = 1600  # bases that are shown


def landscape_slider(start: SpliceNetwork, net: SpliceNetwork, genes: Sequence[LabelledGene]) -> Slider:
    """The loss of a gene along the line from `start` to the trained `net`, and beside it the gene as read there."""
    gene = genes[example(genes) or 0]
    material = packed([gene], net.margin)
    window = on_device(material, net.margin, material.codes.size).cut(jnp.zeros(1, jnp.int32), material.codes.size)
    places = np.linspace(0, _FAR, _FRAMES)
    losses, chances = _along(SpliceLoss(window), start, net, jnp.asarray(places, jnp.float32))
    inside = slice(net.margin + gene.flank, net.margin + gene.flank + min(gene.codes.size - 2 * gene.flank, _MOST))
    shown = np.asarray(chances)[:, inside]
    true = material.targets[inside]
    return Slider(
        "What a gene looks like on the way from random weights to learnt ones",
        places,
        np.asarray(losses, np.float64),
        "curves",
        np.stack([shown[..., SITES["donor"]], -shown[..., SITES["acceptor"]]], axis=1),
        "Annotated donors and acceptors are dashed. The line between both networks is straight, the training's own way "
        "is not: a hill on the line is no hill on its way.",
        t_label="way from the first weights (0) to the learnt ones (1)",
        energy_label="Surprise per base (nat)",
        markers=(Marker("learnt", 1.0),),
        start=0,
        x=np.arange(inside.stop - inside.start),
        x_label=f"base of {gene.gene.symbol or gene.gene.name}",
        y_label="donors up, acceptors down",
        labels=("donor", "acceptor"),
        reference=(true == SITES["donor"]) * 1.0 - (true == SITES["acceptor"]) * 1.0,
        reference_label="annotated",
    )


@eqx.filter_jit
def _along(loss: SpliceLoss, start: SpliceNetwork, net: SpliceNetwork, places: Array) -> tuple[Array, Array]:
    def at(place: Array) -> tuple[Array, Array]:
        one = jax.tree.map(lambda first, last: first + place * (last - first), start, net)
        window = loss.window
        scores, _ = one(window.codes.T, window.first.T, window.last.T)
        return loss(one), jax.nn.softmax(scores[:, 0])

    return jax.lax.map(at, places)
