"""Learn a Boltzmann machine from samples, and say how well it tells them."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from thalweg.core.errors import InputError, WalkError
from thalweg.core.hooks import Hook
from thalweg.core.solution import Outcome, Solution
from thalweg.methods.data import Batches, Whole
from thalweg.spins.data.problem import Problem
from thalweg.spins.data.samples import Samples, samples
from thalweg.spins.energy import BoltzmannMachine, RestrictedBoltzmann
from thalweg.spins.tasks.divergence import ContrastiveDivergence, Likelihood, TemperedDivergence
from thalweg.spins.tasks.exact import machine_of, summed
from thalweg.spins.tasks.inverse import inverse_ising
from thalweg.spins.tasks.likelihood import mean_log_likelihood, mean_pseudo_log_likelihood
from thalweg.spins.tasks.machine_file import problem_of
from thalweg.spins.tasks.partition import LogZ, estimate_log_z
from thalweg.verbs.train import from_loss, train

Model = Literal["rbm", "boltzmann", "inverse"]
Method = Literal["pcd", "cd", "tempered", "exact", "pseudolikelihood"]
Machine = BoltzmannMachine | RestrictedBoltzmann

METHODS: dict[Model, tuple[Method, ...]] = {
    "rbm": ("pcd", "cd", "tempered", "exact"),
    "boltzmann": ("pcd", "cd", "tempered", "exact", "pseudolikelihood"),
    "inverse": ("pseudolikelihood",),
}
_LARGEST_EXACT = 18  # every update of the exact method sums over 2^18 states
_AVERAGED = 0.99  # the decay of the running mean of the parameters
_SPREAD = 0.1  # of the first weights of a restricted machine, which only have to differ


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a machine is learnt; the defaults need no tuning on data of some hundred units.

    **Fields:** `hidden`, units of a restricted machine; `updates` of the parameters, or `epochs` instead; `batch` of
    samples in each; `chains` of the model's own configurations; `sweeps` of them per update (the k of CD-k); `rungs`
    of the ladder of tempered chains; `rate` of Adam, by default `0.1 / sqrt(n)` of the visible units, which falls to a
    hundredth along a cosine; `l2`, half the penalty on squared couplings.
    """

    hidden: int = 16
    updates: int = 6000
    epochs: int | None = None
    batch: int = 128
    chains: int = 256
    sweeps: int = 1
    rungs: int = 8
    rate: float | None = None
    l2: float = 0.0

    def __post_init__(self):
        for name, least in (("hidden", 1), ("updates", 1), ("batch", 1), ("sweeps", 1), ("chains", 2), ("rungs", 2)):
            if getattr(self, name) < least:
                raise InputError(f"learn: {name} is {getattr(self, name)}, but it must be at least {least}.")
        if self.epochs is not None and self.epochs < 1:
            raise InputError(f"learn: epochs is {self.epochs}, but at least one is needed.")
        if not 0 <= self.l2 < np.inf or (self.rate is not None and not 0 < self.rate < np.inf):
            raise InputError(f"learn: l2 is {self.l2} and rate {self.rate}: give a penalty >= 0 and a rate > 0.")


@dataclasses.dataclass(frozen=True, eq=False)
class Learnt:
    """A learnt machine with what is known of it.

    **Fields:** `result`, for JSON; `machine`, over units in {0, 1}; `problem`, its couplings over spins (of a
    restricted one over visible and hidden units); `solution` of the verb.
    """

    result: dict[str, Any]
    machine: Machine
    problem: Problem
    solution: Solution


def learn(
    values: np.ndarray | Samples,
    *,
    model: Model = "rbm",
    method: Method | None = None,
    valid: np.ndarray | Samples | None = None,
    settings: Settings | None = None,
    log_z: Literal["auto", "exact", "annealed", "tempered", "none"] = "auto",
    seed: int = 0,
    on_chunk: tuple[Hook, ...] = (),
) -> Learnt:
    """Learn a machine from samples `[samples, n]` in {0, 1} or {-1, +1}.

    **Arguments:**

    - `model`: `rbm`, `boltzmann` (fully visible), or `inverse` (an Ising glass: couplings and fields of spins).
    - `method`: `pcd` (persistent contrastive divergence, the default), `cd`, `tempered` (PCD with chains on a ladder),
      `exact` (the likelihood itself, by enumeration of up to 18 units), `pseudolikelihood` (fully visible only).
    - `valid`: samples held out, told apart in the result.
    - `log_z`: how the likelihood's constant is computed: by default exactly where that is possible, else by annealed
      importance sampling with an error bar; `none` leaves the likelihood out.
    - `on_chunk`: hooks of the training; with a checkpoint among them a killed run goes on bit for bit, and one that a
      time limit stops hands over what it has learnt.

    **Returns:** a `Learnt`; the `result` has `model`, `method`, `n`, `samples`, `updates`, `epochs`,
    `log_likelihood` and `pseudo_log_likelihood` (nats per sample; `valid_...` of the held-out ones), `log_z`,
    `log_z_error`, `log_z_method`, and how it was learnt.

    **Raises:** `InputError` for unusable samples or settings; `WalkError` where the training breaks.
    """
    settings = settings or Settings()
    given, held = samples(values), None if valid is None else samples(valid, "the held-out samples")
    method = METHODS[_known(model)][0] if method is None else method
    if method not in METHODS[model]:
        raise InputError(f"learn: a model {model!r} has no method {method!r}: choose from {', '.join(METHODS[model])}.")
    if held is not None and held.bits.shape[1] != given.bits.shape[1]:
        raise InputError(f"{held.source}: {held.bits.shape[1]} units, but {given.bits.shape[1]} in the others.")
    if method == "pseudolikelihood":
        found = inverse_ising(given, l2=settings.l2, on_chunk=on_chunk)
        machine, solution = machine_of(found.problem)[0], found.solution
        told: dict[str, Any] = {"updates": int(solution.stats["steps"]), "epochs": None, "l2": settings.l2}
    else:
        solution, told = _taught(model, method, given, settings, seed, on_chunk)
        machine = solution.value
    result = {"model": model, "method": method, "n": given.bits.shape[1], "samples": len(given.bits), **told}
    result |= {"seed": seed, "valued": given.valued, "train_seconds": solution.stats["seconds"]}
    result |= _judged(machine, given, held, log_z, seed)
    return Learnt(result, machine, problem_of(machine, "ising" if model == "inverse" else "boltzmann"), solution)


def _known(model: str) -> Any:
    if model not in METHODS:
        raise InputError(f"learn: there is no model {model!r}: choose from {', '.join(METHODS)}.")
    return model


def _taught(
    model: Model, method: Method, given: Samples, settings: Settings, seed: int, on_chunk: tuple[Hook, ...]
) -> tuple[Solution, dict[str, Any]]:
    """The machine after its training in float32, and what the result tells of it."""
    v = jnp.asarray(given.bits, jnp.float32)
    count, n = v.shape
    # NumPy draws what is drawn once: compiling JAX's generators for it would take longer than the draws.
    words = np.random.default_rng(seed)
    start = begun(model, given, settings.hidden, words)
    batch = count if method == "exact" else min(settings.batch, count)
    updates = settings.updates if settings.epochs is None else -(-settings.epochs * count // batch)
    rate = 0.1 / float(np.sqrt(n)) if settings.rate is None else settings.rate
    rule, carry = _rule(method, start, settings, independent_field(given), words)
    data = Whole(v) if batch == count else Batches(v, batch)
    optimiser = _optimiser(rate, updates)
    try:
        end = train(
            start,
            rule,
            data,
            optimiser,
            carry=carry,
            key=jax.random.key(seed),
            steps=updates,
            ema=_AVERAGED,
            on_chunk=on_chunk,
        )
    except WalkError as error:
        if Outcome.of(error.solution.outcome) is not Outcome.TIME:
            raise
        end = error.solution  # what was learnt within the time is what was asked for
    done = int(end.stats["steps"])
    told = {"updates": done, "epochs": round(done * batch / count, 2), "batch": batch, "rate": rate, "l2": settings.l2}
    told |= {"hidden": settings.hidden} if model == "rbm" else {}
    told |= {"chains": settings.chains} if method in ("pcd", "tempered") else {}
    return end, told | ({} if method == "exact" else {"sweeps": settings.sweeps})


# Kept, because Optax makes closures, and compiled functions know theirs by identity.
@functools.lru_cache(maxsize=32)
def _optimiser(rate: float, updates: int) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(rate, updates, 0.01))


def begun(model: Model, given: Samples, hidden: int, words: np.random.Generator) -> Machine:
    """The machine before its training, in float32: independent units with the means of the data."""
    n, field = given.bits.shape[1], independent_field(given)
    if model == "rbm":
        weights = (_SPREAD * words.standard_normal((n, hidden))).astype(np.float32)
        return RestrictedBoltzmann(weights, field, jnp.zeros(hidden, jnp.float32))
    first, second = (ends.astype(np.int32) for ends in np.triu_indices(n, 1))
    return BoltzmannMachine(first, second, jnp.zeros(first.size, jnp.float32), field)


def independent_field(given: Samples) -> Float[jax.Array, " n"]:
    """The log odds of each unit, in float32; half a sample each way keeps them finite."""
    ups = given.bits.sum(axis=0, dtype=np.int64) + 0.5
    return jnp.asarray(np.log(ups / (len(given.bits) + 1 - ups)), jnp.float32)


def _rule(
    method: Method, start: Machine, settings: Settings, field: jax.Array, words: np.random.Generator
) -> tuple[Any, Any]:
    """The gradient rule of a method, and the chains that it begins with."""
    l2 = jnp.asarray(settings.l2, jnp.float32)
    if method == "exact":
        if summed(start) > _LARGEST_EXACT:
            raise InputError(
                f"learn: the exact method would sum over 2^{summed(start)} states in every update, {_LARGEST_EXACT} "
                "units are the most: choose 'pcd'."
            )
        return from_loss(Likelihood(l2)), None
    if method == "cd":
        return ContrastiveDivergence(settings.sweeps, False, l2), None
    rungs = settings.rungs if method == "tempered" else 1
    uniform = words.random((rungs, settings.chains, field.size))
    chains = jnp.asarray(uniform < 1 / (1 + np.exp(-np.asarray(field))), jnp.float32)
    if method == "pcd":
        return ContrastiveDivergence(settings.sweeps, True, l2), chains[0]
    betas = jnp.linspace(0, 1, rungs, dtype=jnp.float32)
    return TemperedDivergence(settings.sweeps, betas, field, l2), chains


def _judged(machine: Machine, given: Samples, held: Samples | None, how: Any, seed: int) -> dict[str, Any]:
    """Likelihoods in float64, per sample."""
    estimate: LogZ | None = None
    if how != "none":
        estimate = estimate_log_z(machine, how, means=given.bits.mean(axis=0), seed=seed)
    result: dict[str, Any] = {
        "log_z": None if estimate is None else estimate.value,
        "log_z_error": None if estimate is None else estimate.error,
        "log_z_method": None if estimate is None else estimate.method,
        "log_z_trustworthy": None if estimate is None else estimate.trustworthy,
    }
    for prefix, part in (("", given), *(() if held is None else (("valid_", held),))):
        known = None if estimate is None else mean_log_likelihood(machine, part.bits, estimate.value)
        result[f"{prefix}log_likelihood"] = known
        result[f"{prefix}pseudo_log_likelihood"] = mean_pseudo_log_likelihood(machine, part.bits)
    return result
