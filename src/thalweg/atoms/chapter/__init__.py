"""The room's chapters of the tour."""

from __future__ import annotations

from thalweg.report.chapter import Chapter


def chapters() -> tuple[Chapter, ...]:
    """The chapters of this room, in the order of the tour: what moves at once comes first."""
    from thalweg.atoms.chapter import moving, turning

    return (*moving.chapters(), *turning.chapters())
