"""What a network reads in one step of its training."""

from __future__ import annotations

import equinox as eqx
from jaxtyping import Array, Bool, Int8

IGNORED = -1  # the target of a base that is read and not scored


class Window(eqx.Module):
    """What one step of a training reads.

    **Fields:** `codes`, with `margin` more on either side; `targets`; `first` and `last`, the ends of genes.
    """

    codes: Int8[Array, "batch around"]
    targets: Int8[Array, "batch time"]
    first: Bool[Array, "batch time"]
    last: Bool[Array, "batch time"]
