"""The published numbers of `published.toml`, for the tests that compute them: `from reference.published import ...`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Published(NamedTuple):
    """One number, or several: its `value`, the `tolerance` with its reason `why`, and the `source`."""

    value: Any
    tolerance: float
    why: str
    source: str

    def agrees(self, found: Any) -> None:
        """Refuse what is farther from the published value than the tolerance."""
        np.testing.assert_allclose(found, self.value, rtol=0, atol=self.tolerance, err_msg=self.source)


def tables() -> dict[str, dict[str, Any]]:
    """All entries as they stand in the file."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def published(name: str) -> Published:
    """The entry of that name."""
    return Published(**{key: tables()[name][key] for key in Published._fields})
