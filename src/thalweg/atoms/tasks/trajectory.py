"""Long dynamics in pieces: one walk, whose frames are handed out while it goes on, and which survives its process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from thalweg.core.cell import Celled
from thalweg.core.errors import InputError
from thalweg.core.hooks import Closer, Hook, Report
from thalweg.core.solution import Outcome, Solution
from thalweg.methods.dynamics import AbstractDynamics
from thalweg.methods.trace import Recorded, Trace
from thalweg.runs.checkpoint import load_state, read_tensors, save_state
from thalweg.verbs.simulate import Simulating, simulate

_ROOM = 2**25  # bytes of frames that are held between two writings
_MOST = 1000  # frames between two writings
_SECONDS = 5.0  # between two writings


class Plan(NamedTuple):
    """A walk in time, as `simulate` takes it, and how often a frame is taken of it."""

    energy: Any
    x: Any
    v: Any
    method: AbstractDynamics
    mass: Any
    dt: float
    key: Any
    steps: int
    every: int

    @property
    def room(self) -> int:
        """How many frames are held at most."""
        size = 3 * sum(leaf.nbytes for leaf in jax.tree.leaves(self.x))
        return int(np.clip(_ROOM // max(size, 1), 1, min(_MOST, max(1, self.steps // self.every))))


class Piece(NamedTuple):
    """A part of the walk.

    **Fields:** the `steps` at which frames were taken, and the `frames`, arrays by name with a leading axis; `step`
    where the piece ends; its `state` there; `outcome`, `WALKING` if more is to come; the `solution` of `simulate`,
    whose averages are over the whole walk; `speed`, steps per second so far, without compilation.
    """

    steps: list[int]
    frames: dict[str, np.ndarray]
    step: int
    state: Simulating
    outcome: Outcome
    solution: Solution
    speed: float | None


def taken(walk: Simulating) -> dict[str, Any]:
    """What a frame holds."""
    of = lambda tree: tree.points if isinstance(tree, Celled) else tree  # noqa: E731
    found = {
        "points": of(walk.x),
        "velocities": of(walk.v),
        "forces": of(walk.force),
        "energy": walk.value,
        "kinetic": walk.kinetic,
        "conserved": walk.conserved,
    }
    return found | ({"cell": walk.x.cell} if isinstance(walk.x, Celled) else {})


def kept_step(place: Path) -> int | None:
    """The step at which the walk that is kept in a file stands, or `None` if there is no file."""
    return int(read_tensors(place)[1]["step"]) if place.exists() else None


def pieces(
    plan: Plan, place: Path | None = None, *, hooks: tuple[Hook, ...] = (), seconds: float = _SECONDS
) -> Iterator[Piece]:
    """Walk, and hand out a piece whenever its frames fill their room or some `seconds` are over.

    It is one walk: where it is cut changes no bit of it. When the next piece is asked for, the state at the end of the
    last one is kept in `place`, so that whoever has written its frames before loses and doubles none; a walk whose
    state is there goes on from it.

    **Raises:** `InputError` for a state beyond the steps that are asked for, and what `simulate` raises.
    """
    before: Simulating | None = None
    pace = _Pace(place)
    while True:
        relay = _Relay(plan, before, place, hooks, pace, seconds)
        solution = simulate(
            plan.energy,
            plan.x,
            plan.v,
            plan.method,
            dt=plan.dt,
            steps=plan.room * plan.every,
            mass=plan.mass,
            key=plan.key,
            trace=Trace(taken, plan.every),
            throw=False,
            on_chunk=(relay,),
        )
        piece = relay.piece(solution)
        yield piece
        if place is not None and piece.outcome in (Outcome.WALKING, Outcome.DONE, Outcome.CANCELLED, Outcome.TIME):
            save_state(place, piece.state, piece.step, {"walked": pace.walked})
        if piece.outcome is not Outcome.WALKING:
            relay.close_others()
            return
        before = piece.state


class _Pace:
    """Steps and seconds that the loop itself has taken, over all processes that walked."""

    def __init__(self, place: Path | None):
        import json

        told = json.loads(read_tensors(place)[1]["extra"]) if place is not None and place.exists() else {}
        self.walked: list[float] = list(told.get("walked", [0, 0.0]))

    @property
    def speed(self) -> float | None:
        return self.walked[0] / self.walked[1] if self.walked[1] > 0 else None


class _Relay:
    """The one hook of a piece: sets it on its way, and lets the others hear of the whole walk."""

    def __init__(self, plan: Plan, before: Simulating | None, place: Path | None, hooks, pace: _Pace, seconds: float):
        self.plan, self.before, self.place, self.hooks, self.pace = plan, before, place, hooks, pace
        self.seconds = seconds
        self.first = self.shift = 0
        self.paused = False
        self.clock: tuple[int, float] | None = None
        self.last: Report | None = None

    def restore(self, template: Recorded) -> tuple[Recorded, int]:
        """The piece is counted so that it ends where the room for frames does: one program serves all pieces."""
        plan, state = self.plan, template.state
        if self.before is not None:
            state = self.before
        elif self.place is not None and self.place.exists():
            state = load_state(self.place, state)[0]
        elif state.line.wandering is not None:
            # The stretches over which drift is judged are those of the whole walk.
            length = jnp.asarray(max(plan.steps // 32, 1), jnp.int32)
            state = eqx.tree_at(lambda walk: walk.line.wandering.length, state, length)
        self.first = int(state.motion.step)
        left, passed = plan.steps - self.first, self.first % plan.every
        if left < 0:
            raise InputError(f"the walk is at step {self.first}, beyond the {plan.steps} asked for: ask for more.")
        whole = plan.room * plan.every
        begin = whole - min(left, whole - passed)
        self.shift = begin - self.first
        return Recorded(state, jnp.asarray(passed, jnp.int32), template.records), begin

    def __call__(self, report: Report) -> Outcome | None:
        now = time.perf_counter()
        if self.clock is None:
            self.clock = report.step, now
        told = self._told(report)
        answers = [answer for answer in [hook(told) for hook in self.hooks] if answer is not None]
        if answers:
            return answers[0]
        self.paused = now - self.clock[1] >= self.seconds
        return Outcome.TIME if self.paused else None

    def close(self, report: Report) -> None:
        """Keep the end of the piece."""
        self.last = report
        if self.clock is not None:
            self.pace.walked[0] += report.step - self.clock[0]
            self.pace.walked[1] += time.perf_counter() - self.clock[1]

    def piece(self, solution: Solution) -> Piece:
        """What was walked."""
        assert self.last is not None, "drive closes its hooks"
        recording: Recorded = self.last.whole
        step = self.last.step - self.shift
        passed, every = self.first % self.plan.every, self.plan.every
        # The first slot belongs to the start of the whole walk, or to the piece before.
        begin, end = int(self.first > 0), (passed + step - self.first) // every + 1
        records = {name: np.asarray(rows[begin:end]) for name, rows in recording.records.items()}
        steps = [self.first - passed + every * slot for slot in range(begin, end)]
        return Piece(steps, records, step, recording.state, self._outcome(solution, step), solution, self.pace.speed)

    def close_others(self) -> None:
        """Tell the other hooks that the walk is over."""
        assert self.last is not None, "drive closes its hooks"
        for hook in self.hooks:
            if isinstance(hook, Closer):
                hook.close(self._told(self.last))

    def _outcome(self, solution: Solution, step: int) -> Outcome:
        outcome = Outcome.of(solution.outcome)
        if outcome is Outcome.DONE or (outcome is Outcome.TIME and self.paused):
            return Outcome.DONE if step >= self.plan.steps else Outcome.WALKING
        return outcome

    def _told(self, report: Report) -> Report:
        state = report.state
        return report._replace(step=report.step - self.shift, steps=self.plan.steps, state=state, whole=None)
