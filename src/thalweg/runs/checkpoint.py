"""The state of a walk in one safetensors file: every array with all its bits, and nothing that can run."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from thalweg.core.atomic import write_atomic
from thalweg.core.errors import InputError, PrecisionError

if TYPE_CHECKING:
    import numpy as np

S = TypeVar("S")

_FORMAT = "thalweg-state-1"
# What safetensors stores as itself; every other dtype (complex128, int4, float8) is stored as its bytes.
_NATIVE = frozenset("bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 float32 float64 bfloat16".split())


def save_state(
    path: str | os.PathLike[str], state: Any, step: int, extra_metadata: Mapping[str, Any] | None = None
) -> Path:
    """Write the arrays of `state` to `path`, bit for bit, with the step that they belong to.

    The previous file is replaced in one move, so that one good checkpoint exists at any moment and no second is kept.

    **Arguments:** `path` of the file; `state`, any pytree: JAX and NumPy arrays are stored, typed random keys as their
    words; plain numbers and text are recorded so that `load_state` can compare them; functions are left out.
    `extra_metadata`, whatever JSON holds.

    **Returns:** the path.

    **Raises:** `InputError` for an array of no numbers; `ThalwegError` if the file cannot be written.
    """
    from safetensors.numpy import save

    tensors: dict[str, np.ndarray] = {}
    leaves = {}
    for name, leaf in named_leaves(state):
        if is_array(leaf):
            leaves[name] = _described(name, leaf)
            tensors[name] = _bits(leaf)
    metadata = {
        "format": _FORMAT,
        "step": str(int(step)),
        "leaves": json.dumps(leaves),
        "constants": json.dumps(constants(state)),
        "extra": json.dumps(dict(extra_metadata or {})),
    }
    flat = {name: _bytes(array) for name, array in tensors.items()}
    metadata["sha256"] = _digest(flat, metadata)
    stored = {name: array if array.dtype.name in _NATIVE else flat[name] for name, array in tensors.items()}
    return write_atomic(path, save(stored, metadata))


def load_state(path: str | os.PathLike[str], template: S) -> tuple[S, int]:
    """The state that `save_state` wrote, built like `template`, and its step.

    **Arguments:** `template`, a state of the same structure; its JAX arrays come back as JAX arrays, its NumPy arrays
    as NumPy arrays, typed keys as typed keys, and all else is taken from it. Lists that had grown along the walk keep
    the shapes that they had grown to.

    **Raises:** `InputError` if the file is missing or damaged, or names the first leaf that does not fit the template;
    `PrecisionError` if it holds 64-bit arrays and this process computes in 32.
    """
    import jax

    path = Path(path)
    tensors, metadata = read_tensors(path)
    stored = json.loads(metadata["leaves"])
    _same_constants(path, json.loads(metadata["constants"]), constants(template))
    leaves, growing = [], _growing(template)
    for name, leaf in named_leaves(template):
        if is_array(leaf):
            _check_fit(path, name, stored.get(name), leaf, name in growing)
            try:
                leaf = _rebuilt(leaf, tensors.pop(name), stored[name])
            except (KeyError, TypeError, ValueError) as error:
                raise damaged(path, f"{name} does not hold what its description says") from error
        leaves.append(leaf)
    if tensors:
        raise InputError(f"{path} does not fit this walk: it holds {min(tensors)}, which is unknown here: {_REMEDY}")
    return jax.tree.unflatten(jax.tree.structure(template), leaves), int(metadata["step"])


def load_built(path: str | os.PathLike[str], build: Callable[[], S], what: str) -> S:
    """The state in `path`, of whatever `build` makes of the description in the same file.

    **Arguments:** `build`, of which only the shapes are worked out; `what` that is, for messages.

    **Raises:** as `load_state`, and where nothing can be built, or more than the file holds.
    """
    import equinox as eqx
    import jax
    import numpy as np

    path = Path(path)
    try:
        shapes = eqx.filter_eval_shape(build)
        leaves = [leaf for leaf in jax.tree.leaves(shapes) if isinstance(leaf, jax.ShapeDtypeStruct)]
        needed = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)
        if any(size < 0 for leaf in leaves for size in leaf.shape):
            raise ValueError("it has negative sizes")
    except Exception as error:  # a description that is wrong makes the builder raise anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise damaged(path, f"its description is not that of {what}: {reason}") from error
    if needed > path.stat().st_size:
        raise damaged(path, f"it does not fit its description, {what} of {needed} bytes")
    described = lambda leaf: jax.numpy.asarray(np.zeros(leaf.shape, leaf.dtype))  # noqa: E731
    template = jax.tree.map(lambda leaf: described(leaf) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf, shapes)
    return load_state(path, template)[0]


def saved_step(path: str | os.PathLike[str]) -> int | None:
    """The step of the checkpoint in `path`, from its header alone; `None` if there is no file.

    **Raises:** `InputError` if the header is damaged.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            return int(json.loads(file.read(min(length, path.stat().st_size)))["__metadata__"]["step"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged(path, "its header is not readable") from error


_REMEDY = "go on with the configuration that wrote it, or start afresh in another folder."


def named_leaves(state: Any) -> list[tuple[str, Any]]:
    """Every leaf of `state` under its place in the pytree (`state.x`, `state['key']`)."""
    import jax

    named = [("state" + jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(state)]
    names = [name for name, _ in named]
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise InputError(f"two leaves of the state are called {double}: rename one, a checkpoint cannot hold both.")
    return named


def _growing(state: Any) -> frozenset[str]:
    """The names of the leaves whose shape may have grown along the walk."""
    import jax

    from thalweg.core.refresh import Lists

    nodes = jax.tree_util.tree_leaves_with_path(state, is_leaf=lambda node: isinstance(node, Lists))
    lists = [(path, node) for path, node in nodes if isinstance(node, Lists)]
    inner = [(path, below) for path, node in lists for below, _ in jax.tree_util.tree_leaves_with_path(node)]
    return frozenset("state" + jax.tree_util.keystr(path + below) for path, below in inner)


def is_array(leaf: Any) -> bool:
    """Whether a checkpoint stores this leaf."""
    import jax
    import numpy as np

    return isinstance(leaf, jax.Array | np.ndarray | np.generic)


def constants(state: Any) -> dict[str, str]:
    """The plain numbers and text among the leaves of `state`: they are compared, not restored."""
    plain = bool | int | float | complex | str
    return {name: repr(leaf) for name, leaf in named_leaves(state) if isinstance(leaf, plain) and not is_array(leaf)}


def _is_key(leaf: Any) -> bool:
    import jax

    return jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _described(name: str, leaf: Any) -> dict[str, Any]:
    import jax
    import numpy as np

    if _is_key(leaf):
        words = jax.random.key_data(leaf)
        return {"dtype": words.dtype.name, "shape": list(words.shape), "key": str(jax.random.key_impl(leaf))}
    if leaf.dtype != np.bool_ and not jax.numpy.issubdtype(leaf.dtype, np.number):
        raise InputError(f"{name} is an array of {leaf.dtype}, which a checkpoint cannot hold: convert it to numbers.")
    return {"dtype": leaf.dtype.name, "shape": list(leaf.shape)}


def _bits(leaf: Any) -> np.ndarray:
    import jax
    import numpy as np

    array = np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
    return array.astype(array.dtype.newbyteorder("="), order="C", copy=False)


def _bytes(array: np.ndarray) -> np.ndarray:
    import numpy as np

    return array.reshape(-1).view(np.uint8)


def _digest(tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> str:
    """A hash over everything that is read back: safetensors itself would not notice a flipped bit."""
    digest = hashlib.sha256()
    sizes = {name: len(data) for name, data in tensors.items()}
    told = {key: value for key, value in metadata.items() if key != "sha256"}
    digest.update(json.dumps([told, sizes], sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(tensors[name])
    return digest.hexdigest()


def read_tensors(path: Path) -> tuple[dict[str, bytearray], dict[str, str]]:
    """The raw arrays of a file by name, and its metadata, once its hash is checked.

    **Raises:** `InputError` for a file that is missing, damaged or of another kind.
    """
    from safetensors import SafetensorError, deserialize

    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: there is no checkpoint to go on from.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check its name and permissions.") from error
    try:
        tensors = {name: tensor["data"] for name, tensor in deserialize(raw)}
        header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    except (SafetensorError, ValueError, RecursionError) as error:
        raise damaged(path, f"{error}".splitlines()[0]) from error
    metadata = header.get("__metadata__") or {}
    if metadata.get("format") != _FORMAT:
        raise InputError(f"{path} is no checkpoint of a walk (its format is {metadata.get('format')!r}): name another.")
    if metadata.get("sha256") != _digest(tensors, metadata):
        raise damaged(path, "its content does not have the hash that it was written with")
    _check_metadata(path, metadata)
    return tensors, metadata


def _check_metadata(path: Path, metadata: Mapping[str, str]) -> None:
    """What follows believes the texts: a file of somebody else's making has a hash that is right as well."""
    try:
        tables = [json.loads(metadata[key]) for key in ("leaves", "constants", "extra")]
        step = metadata["step"]
    except (KeyError, ValueError, RecursionError) as error:
        raise damaged(path, "its description is not readable") from error
    leaves = tables[0].values() if all(isinstance(table, dict) for table in tables) else [None]
    if not (step.isascii() and step.isdigit() and len(step) < 19) or not all(map(_is_described, leaves)):
        raise damaged(path, "its description is not that of a state")


def _is_described(leaf: Any) -> bool:
    if not isinstance(leaf, dict) or not isinstance(leaf.get("dtype"), str) or not isinstance(leaf.get("shape"), list):
        return False
    return all(type(size) is int and 0 <= size < 2**62 for size in leaf["shape"])


def damaged(path: Path, reason: str) -> InputError:
    """The error that says what is wrong with a file, and what to do."""
    return InputError(f"{path} is damaged ({reason}): restore it from a copy, or delete it to start afresh.")


def _same_constants(path: Path, stored: dict[str, str], wanted: dict[str, str]) -> None:
    for name in sorted(stored.keys() | wanted.keys()):
        old, new = stored.get(name, "absent"), wanted.get(name, "absent")
        if old != new:
            raise InputError(f"{path} does not fit this walk: {name} is {old} in the file and {new} here: {_REMEDY}")


def _check_fit(path: Path, name: str, stored: dict[str, Any] | None, leaf: Any, grows: bool) -> None:
    import jax
    import numpy as np

    wanted = _described(name, leaf)
    if stored is None:
        raise InputError(f"{path} does not fit this walk: it has no {name}: {_REMEDY}")
    wide = stored["dtype"] in {"float64", "complex128", "int64", "uint64"}
    if (
        wide
        and isinstance(leaf, jax.Array)
        and jax.dtypes.canonicalize_dtype(np.dtype(stored["dtype"])) != stored["dtype"]
    ):
        raise PrecisionError(
            f"{path} holds {name} as {stored['dtype']} but this process computes in 32 bits: call "
            "jax.config.update('jax_enable_x64', True) at its start."
        )
    if grows and len(stored["shape"]) == len(wanted["shape"]):
        wanted["shape"] = stored["shape"]
    if stored != wanted:
        raise InputError(
            f"{path} does not fit this walk: {name} is {_spelled(stored)} in the file and {_spelled(wanted)} here: "
            f"{_REMEDY}"
        )


def _spelled(leaf: dict[str, Any]) -> str:
    return f"{leaf['dtype']}{leaf['shape']}" + (f" (a {leaf['key']} key)" if "key" in leaf else "")


def _rebuilt(leaf: Any, data: bytearray, stored: dict[str, Any]) -> Any:
    import jax
    import numpy as np

    value = np.frombuffer(data, np.dtype(stored["dtype"])).reshape(stored["shape"])
    if isinstance(leaf, np.ndarray):
        # In the memory order of the template: NumPy's sums, and so their last bits, depend on it.
        like = np.empty_like(leaf, shape=value.shape, subok=False)
        like[...] = value
        return like
    if isinstance(leaf, np.generic):
        return value[()]
    array = jax.numpy.array(value)
    return jax.random.wrap_key_data(array, impl=stored["key"]) if "key" in stored else array
