"""A network with some units left out, others at every step: what keeps it from learning genes by heart."""

from __future__ import annotations

import equinox as eqx
import jax
from jaxtyping import Array, Float, Key

from thalweg.genome.model.network import SpliceNetwork


def thinned(net: SpliceNetwork, share: float, key: Key[Array, ""]) -> SpliceNetwork:
    """The network without a share of the stem's features and of every block's recurrent units.

    The same units are left out at every base of a window, so that memories stay whole, and the others count for more.
    It costs next to nothing, for it is the matrices behind the units that lose rows.

    **Source:** Srivastava et al., JMLR 15, 1929 (2014); the same units along a sequence: Gal & Ghahramani,
    NeurIPS 2016.
    """
    keys = jax.random.split(key, 1 + len(net.blocks))
    matrices = [net.stem.mix, *(block.out for block in net.blocks)]
    kept = [_without_rows(matrix, share, key) for matrix, key in zip(matrices, keys, strict=True)]
    return eqx.tree_at(lambda one: [one.stem.mix, *(block.out for block in one.blocks)], net, kept)


def _without_rows(
    matrix: Float[Array, "rows columns"], share: float, key: Key[Array, ""]
) -> Float[Array, "rows columns"]:
    stay = jax.random.bernoulli(key, 1 - share, (matrix.shape[0], 1))
    return matrix * (stay / (1 - share)).astype(matrix.dtype)
