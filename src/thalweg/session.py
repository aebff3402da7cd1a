"""What a command-line process sets up before it computes: device, precision and the store of compiled programs."""

from __future__ import annotations

import functools
import glob
import hashlib
import os
import platform
import re
import stat
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from thalweg.core.errors import ThalwegError, require

Device = Literal["cpu", "gpu"]
DEVICES: tuple[Device, ...] = ("cpu", "gpu")

# What compiles faster than this is not worth a file.
_WORTH_KEEPING_SECONDS = 0.3
_CACHE = "jax_compilation_cache_dir"
_SETTINGS = ("jax_platforms", "jax_enable_x64", _CACHE, "jax_persistent_cache_min_compile_time_secs")


@contextmanager
def start(
    device: Device | None = None, x64: bool = True, note: Callable[[str], object] | None = None
) -> Iterator[Path | None]:
    """Set JAX up for one command, and put its settings back afterwards.

    **Arguments:** `device`, `None` for what JAX finds; `x64`, double precision for the whole process; `note`, told in
    a sentence why compiled programs are not kept, if they are not (by default standard error is).

    **Returns:** a context with the folder of compiled programs, or `None`.

    **Raises:** `ThalwegError` if `device` is not there: another one is never taken in its place.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's own warnings; its errors still come through
    try:
        import jax
    except ImportError as error:
        raise ThalwegError(f"JAX cannot be imported ({_first_line(error)}): see `thalweg doctor`.") from error

    before = _settings(jax)
    try:
        jax.config.update("jax_enable_x64", x64)
        _choose(jax, device)
        note = note or (lambda sentence: print(sentence, file=sys.stderr))
        folder = _keep_programs(jax, note)
        with _mending(folder, note):
            yield folder
    finally:
        changed = getattr(jax.config, _CACHE) != before[_CACHE]
        for name, value in before.items():
            jax.config.update(name, value)
        if changed:
            _forget_cache()


def _settings(jax: Any) -> dict[str, Any]:
    """The process's settings: read in a new thread, where no `with jax.enable_x64(...)` of the caller hides them."""
    found: dict[str, Any] = {}
    thread = threading.Thread(target=lambda: found.update({name: getattr(jax.config, name) for name in _SETTINGS}))
    thread.start()
    thread.join()
    return found


def _choose(jax: Any, device: Device | None) -> None:
    if device is None:
        return
    # For a GPU all platforms are started, because programs on it may still want the host's; the first must be it.
    jax.config.update("jax_platforms", "cpu" if device == "cpu" else None)
    try:
        found = jax.default_backend()
    except RuntimeError as error:
        raise ThalwegError(
            f"--device {device}: JAX cannot start it ({_first_line(error)}): see `thalweg doctor`."
        ) from None
    if found == device:
        return
    if device == "cpu":
        raise ThalwegError(f"--device cpu: this process already computes on the {found}: start a new one.")
    raise ThalwegError(f"--device gpu: JAX finds no GPU, only the {found}: {gpu_remedy()}, or choose --device cpu.")


def gpu_remedy() -> str:
    """What to do about a GPU that JAX does not find."""
    if not any(name.startswith(("jax-cuda", "jax-rocm")) for name in _installed()):
        return "install its plugin (for NVIDIA: pip install 'jax[cuda13]', or 'jax[cuda12]' for an older driver)"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides it, so unset that"
    return "the plugin is installed but finds no device, so check the driver with nvidia-smi"


def _installed() -> set[str]:
    return {(found.metadata["Name"] or "").lower() for found in metadata.distributions()}


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def cache_root() -> Path | None:
    """Where compiled programs are kept: THALWEG_CACHE, else the user's cache folder; `None` if THALWEG_CACHE is off."""
    named = os.environ.get("THALWEG_CACHE")
    if named is not None and named.lower() in ("off", "0", "no", "false"):
        return None
    if named:
        return Path(named).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("thalweg", appauthor=False))


def cache_folder(root: Path) -> Path:
    """The folder below `root` for programs compiled on this kind of processor by this compiler."""
    return root / f"xla-{cpu_key()}"


@functools.cache
def cpu_key() -> str:
    """A hash of the processor, its features and the version of XLA.

    XLA compiles for the very processor it runs on; a program from another one, on a home folder that machines share,
    may stop with an illegal instruction.
    """
    described = [platform.system(), platform.machine(), platform.processor(), metadata.version("jaxlib")]
    lines = _cpu_lines()
    for name in ("model name", "flags", "Features", "CPU part"):
        # The first core speaks for all.
        value = next((line.partition(":")[2] for line in lines if line.partition(":")[0].strip() == name), "")
        described.append(" ".join(sorted(value.split())))
    return hashlib.sha256("\n".join(described).encode()).hexdigest()[:16]


def _cpu_lines() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux: the platform's own words must do
        return []


def _keep_programs(jax: Any, note: Callable[[str], object]) -> Path | None:
    root = cache_root()
    if root is None:
        return None
    folder = cache_folder(root)
    try:
        make_private(folder)
    except ThalwegError as error:
        note(f"Compiled programs are not kept: {error}")
        return None
    jax.config.update(_CACHE, str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _WORTH_KEEPING_SECONDS)
    _forget_cache()
    return folder


@contextmanager
def _mending(folder: Path | None, note: Callable[[str], object]) -> Iterator[None]:
    """Remove what a killed process left half written: JAX would warn of it in every run and never replace it.

    Where nothing more can be written, that is said once and not for every program.
    """
    show, told = warnings.showwarning, []

    def heal(message: Warning | str, *rest: Any, **named: Any) -> None:
        if folder and str(message).startswith("Error writing persistent compilation cache entry"):
            if not told:
                told.append(message)
                note(f"Compiled programs are not kept: {folder} cannot be written or is full.")
            return None
        found = re.match(r"Error reading persistent compilation cache entry for '([^']+)'", str(message))
        if not found:
            return show(message, *rest, **named)
        for path in folder.glob(f"{glob.escape(found[1])}-*") if folder else ():
            path.unlink(missing_ok=True)

    warnings.showwarning = heal
    try:
        yield
    finally:
        warnings.showwarning = show


def _forget_cache() -> None:
    # JAX looks at the setting once per process, at its first compilation.
    from jax.experimental.compilation_cache import compilation_cache

    compilation_cache.reset_cache()


def make_private(folder: Path) -> None:
    """Make `folder` the user's own: what lies in it is executed, so nobody else may write there.

    **Raises:** `ThalwegError` if it belongs to somebody else, leads elsewhere or cannot be made.
    """
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        above, found = os.stat(folder.parent), os.lstat(folder)
        if not stat.S_ISDIR(found.st_mode):
            raise ThalwegError(f"{folder} is no folder of its own: remove it, or name another with THALWEG_CACHE.")
        if not hasattr(os, "getuid"):
            return
        shared = above.st_mode & 0o022 and not above.st_mode & stat.S_ISVTX
        if found.st_uid != os.getuid() or above.st_uid not in (os.getuid(), 0) or shared:
            raise ThalwegError(f"others may write to {folder}: name a folder of your own with THALWEG_CACHE.")
        if stat.S_IMODE(found.st_mode) != 0o700:
            folder.chmod(0o700)
    except OSError as error:
        raise ThalwegError(f"{folder} cannot be made ({error.strerror}): name another with THALWEG_CACHE.") from error


class CompileClock:
    """The seconds that JAX has spent compiling, or fetching what it had compiled before, since this was made.

    Those of numba count too once `hear_kernels` was called.
    """

    def __init__(self) -> None:
        _listen()
        self._began = self._all()

    @property
    def seconds(self) -> float:
        """So far."""
        return self._all() - self._began

    def _all(self) -> float:
        return sum(_compilations) + sum(listener.duration for listener in _kernels if listener.done)


_compilations: list[float] = []
_kernels: list[Any] = []


@functools.cache
def hear_kernels() -> None:
    """Let every `CompileClock` count what numba compiles from here on.

    **Raises:** `MissingExtra` without numba.
    """
    event = require("numba.core.event", extra="kernels")
    _kernels.append(event.TimingListener())
    event.register("numba:compile", _kernels[-1])


@functools.cache
def _listen() -> None:
    import jax.monitoring

    def hear(event: str, duration_secs: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            _compilations.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(hear)
