"""Which configurations are copies of one another under a symmetry of a landscape."""

from __future__ import annotations

import abc

import equinox as eqx
from jaxtyping import PyTree


class AbstractCopies(eqx.Module):
    """A symmetry of a landscape, as a search for the copy of one configuration that lies nearest to another."""

    @abc.abstractmethod
    def nearest(self, a: PyTree, b: PyTree) -> PyTree:
        """The copy of `b` under the symmetry that lies nearest to `a`."""
