"""Processes find each other before JAX connects them: JAX would end a process whose others do not come."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack

from thalweg.core.errors import InputError

_GO = "go"


def meet(address: str, processes: int, rank: int, timeout: float) -> None:
    """Wait until all processes are there: the one of rank 0 listens at its address, the others call it.

    **Raises:** `InputError` for an address that is none or is taken, others that do not come in time, and a rank or a
    number of processes that does not fit those of the others.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError(f"together: {address!r} is no address: write HOST:PORT, of the process of rank 0.")
    until = time.monotonic() + timeout
    if rank == 0:
        _wait(int(port), processes, until, timeout)
    else:
        _call(host.strip("[]"), int(port), processes, rank, until, timeout)


def _wait(port: int, processes: int, until: float, timeout: float) -> None:
    with ExitStack() as stack:
        try:
            server = stack.enter_context(socket.create_server(("", port), backlog=processes))
        except OSError as error:
            raise InputError(
                f"together: port {port} cannot be listened at ({error.strerror}): choose another."
            ) from error
        came: dict[int, socket.socket] = {}
        while len(came) < processes - 1:
            try:
                server.settimeout(max(0.01, until - time.monotonic()))
                caller = stack.enter_context(server.accept()[0])
                caller.settimeout(max(0.01, until - time.monotonic()))
                words = _line(caller).split()
            except OSError as error:
                raise _alone(f"{processes - 1 - len(came)} of {processes} processes did not come", timeout) from error
            if len(words) != 2 or not all(word.isdecimal() for word in words):
                continue  # somebody else who looks at ports
            number, count = map(int, words)
            if count != processes or number in came or not 0 < number < processes:
                sentence = (
                    f"together: a process calls itself number {number} of {count}, but {processes} are awaited, each "
                    "rank once: start them all alike."
                )
                for one in (caller, *came.values()):
                    one.sendall(f"{sentence}\n".encode())
                raise InputError(sentence)
            came[number] = caller
        for caller in came.values():
            caller.sendall(f"{_GO}\n".encode())


def _call(host: str, port: int, processes: int, rank: int, until: float, timeout: float) -> None:
    while True:
        try:
            with socket.create_connection((host, port), timeout=max(0.01, until - time.monotonic())) as caller:
                caller.sendall(f"{rank} {processes}\n".encode())
                answer = _line(caller)
        except OSError as error:
            answer, reason = "", error.strerror or str(error)
        else:
            reason = "it hung up"
        if answer == _GO:
            return
        if answer:
            raise InputError(answer)
        if time.monotonic() > until:
            raise _alone(f"the process of rank 0 does not answer at {host}:{port} ({reason})", timeout)
        time.sleep(0.1)


def _line(caller: socket.socket) -> str:
    with caller.makefile("r", encoding="utf-8", errors="replace") as lines:
        return lines.readline(1000).strip()


def _alone(what: str, timeout: float) -> InputError:
    return InputError(f"together: {what} within {timeout:g} s: start all of them, with the same address.")
