"""How every verb ends: a solution, or one sentence that says where it broke and what to do."""

from __future__ import annotations

from thalweg.core.checks import traced
from thalweg.core.errors import WalkError
from thalweg.core.hooks import Hook, Keeper
from thalweg.core.solution import Outcome, Solution
from thalweg.methods.drive import Walk


def concluded(solution: Solution, walk: Walk, verb: str, hooks: tuple[Hook, ...], throw: bool) -> Solution:
    """The solution, unless the walk ended badly and the caller wants to hear of it.

    **Raises:** `WalkError`.
    """
    if not throw or traced(walk.outcome) or solution.done:
        return solution
    raise WalkError(sentence(walk, verb, hooks), solution)


def refuse_stopped(solution: Solution, task: str) -> None:
    """Refuse to go on where a hook stopped a walk whose other endings are welcome.

    **Raises:** `WalkError` for a solution that ended by a time limit or on request.
    """
    outcome = Outcome.of(solution.outcome)
    if outcome in (Outcome.TIME, Outcome.CANCELLED):
        raise WalkError(f"{task}: {outcome.value}", solution)


def sentence(walk: Walk, verb: str, hooks: tuple[Hook, ...]) -> str:
    """What happened, at which step and leaf, where the last good state is kept, and the remedy."""
    outcome = Outcome.of(walk.outcome)
    if outcome is not Outcome.NONFINITE:
        return f"{verb}: {outcome.value}"
    leaves = ", ".join(walk.bad_leaves[:3]) or "the energy"
    kept = [hook.kept for hook in hooks if isinstance(hook, Keeper) and hook.kept]
    where = f"the last good checkpoint is {kept[0]}" if kept else "no checkpoint was kept"
    return f"{verb}: step {int(walk.step) + 1} made {leaves} non-finite; {where}. {outcome.value}"
