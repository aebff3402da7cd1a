"""The room's chapters of the tour."""

from __future__ import annotations

from thalweg.report.chapter import Chapter


def chapters() -> tuple[Chapter, ...]:
    """The chapters of this room, in the order of the tour."""
    from thalweg.genome.chapter import plastic, reading

    return (*reading.chapters(), *plastic.chapters())
