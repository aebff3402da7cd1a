"""Several processes as one: a training whose batches are shared by the devices of all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from thalweg.core.errors import InputError
from thalweg.scale.meeting import meet

if TYPE_CHECKING:
    from thalweg.core.hooks import Hook, Report
    from thalweg.core.solution import Outcome

_GOES_ON = -1


class Team:
    """The processes that compute together, as one of them sees them.

    **Fields:** `rank`, the number of this one; `processes`, how many there are; `devices`, those of all of them, in the
    same order everywhere: for `train(devices=...)`.
    """

    def __init__(self) -> None:
        import jax

        self.rank, self.processes, self.devices = jax.process_index(), jax.process_count(), jax.devices()

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and talks to the user."""
        return self.rank == 0

    def hooks(self, *hooks: Hook) -> tuple[Hook, ...]:
        """The same hooks for a walk of all processes, each of which must pass them; only the first one calls them.

        What they answer, and the checkpoint that they restore, goes to all processes: no shared folder is needed.
        """
        return (_Led(hooks if self.leads else ()),)


@contextmanager
def together(
    address: str | None = None, processes: int | None = None, rank: int | None = None, *, timeout: int = 300
) -> Iterator[Team]:
    """Join the other processes before JAX starts, and part from them at the end.

    **Arguments:** `address`, `host:port` of the process of rank 0, which listens there; `processes`, how many there
    are; `rank` of this one. Under SLURM and Open MPI all three are found from the environment. `timeout`, seconds to
    wait for the others.

    **Raises:** `InputError` for arguments that make no sense, a process in which JAX has started already, and others
    that do not come. (What SLURM or Open MPI start, and does not come together, JAX ends by itself.)
    """
    import jax

    given = [one is not None for one in (address, processes, rank)]
    if any(given) and not all(given):
        raise InputError("together: give address, processes and rank, or none of them under SLURM or Open MPI.")
    if processes is not None and rank is not None and not 0 <= rank < processes:
        raise InputError(f"together: rank is {rank}, but {processes} processes have ranks from 0 to {processes - 1}.")
    if _started():
        raise InputError("together: JAX has started in this process already: come together before anything computes.")
    if address is not None and processes is not None and rank is not None:
        meet(address, processes, rank, timeout)
    try:
        jax.distributed.initialize(address, processes, rank, initialization_timeout=timeout)
    except (RuntimeError, ValueError, TypeError) as error:  # no cluster to be found, or no port
        line = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(
            f"together: the processes cannot be connected ({line}): give address, processes and rank of each."
        ) from error
    try:
        yield Team()
    finally:
        jax.distributed.shutdown()


def _started() -> bool:
    try:
        from jax._src import xla_bridge  # JAX says this nowhere else, and its own error names no remedy
    except ImportError:
        return False
    return xla_bridge.backends_are_initialized()


class _Led:
    """All hooks of the first process as one hook of every process."""

    def __init__(self, hooks: tuple[Hook, ...]):
        self._hooks = hooks

    def common_steps(self, steps: int, /) -> int:
        """As many steps as the first process wants."""
        return int(_from_first(steps))

    def __call__(self, report: Report) -> Outcome | None:
        from thalweg.core.solution import Outcome

        answers = [answer for answer in [hook(report) for hook in self._hooks] if answer is not None]
        code = int(_from_first(answers[0].code if answers else _GOES_ON))
        return None if code == _GOES_ON else Outcome.of(code)

    def restore(self, template: Any) -> tuple[Any, int] | None:
        """What the first process restores, on all of them."""
        from thalweg.core.hooks import Resumer

        found = None
        for hook in self._hooks:
            if found is None and isinstance(hook, Resumer):
                found = hook.restore(template)
        step = int(_from_first(_GOES_ON if found is None else found[1]))
        return None if step == _GOES_ON else (_state_from_first(template if found is None else found[0]), step)

    def close(self, report: Report) -> None:
        """Let the hooks of the first process end."""
        from thalweg.core.hooks import Closer

        for hook in self._hooks:
            if isinstance(hook, Closer):
                hook.close(report)

    @property
    def kept(self) -> str | None:
        """Where the first process keeps the last good state."""
        from thalweg.core.hooks import Keeper

        return next((hook.kept for hook in self._hooks if isinstance(hook, Keeper)), None)


def _from_first(value: Any) -> Any:
    """The value that the first process has."""
    from jax.experimental.multihost_utils import broadcast_one_to_all

    return broadcast_one_to_all(value)


def _state_from_first(state: Any) -> Any:
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import numpy as np

    def sent(leaf: Any) -> Any:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            words = jnp.asarray(_from_first(np.asarray(jax.random.key_data(leaf))))
            return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))
        return jnp.asarray(_from_first(np.asarray(leaf)))

    arrays, rest = eqx.partition(state, eqx.is_array)
    return eqx.combine(jax.tree.map(sent, arrays), rest)
