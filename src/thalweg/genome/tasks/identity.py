"""What tells one network from another."""

from __future__ import annotations

import hashlib

import jax
import numpy as np

from thalweg.genome.model.network import SpliceNetwork


def fingerprint(net: SpliceNetwork) -> bytes:
    """A hash of all the numbers and the structure of a network."""
    told = hashlib.sha256(str(jax.tree.structure(net)).encode())
    for leaf in jax.tree.leaves(net):
        told.update(np.asarray(leaf).tobytes())
    return told.digest()
