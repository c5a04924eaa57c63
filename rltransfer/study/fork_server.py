"""Forks processes from a parent that has torch and SB3 loaded, whose imports take seconds (sb3_facts.md#imports)."""

import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from typing import Any, TypeVar

from rltransfer.errors import RLTransferError, RunError
from rltransfer.strategies import KINDS

PRELOADED = [
    "rltransfer.study.work",
    "rltransfer.training",
    "torch._dynamo",
    "torch.utils.tensorboard",
    *(f"rltransfer.transfer.methods.{kind}" for kind in KINDS),
]
"""What the warm parent imports before it forks."""
_Returned = TypeVar("_Returned")


def warm_context() -> ForkServerContext:
    """Returns the context that starts processes from the warm parent, which is started here; needs no torch itself."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with _signals_ignored():
        # The parent must outlive what ends this process: it tells how the others end. It takes over what is ignored.
        forkserver.ensure_running()
    return context


def call_warm(function: Callable[..., _Returned], *given: Any) -> _Returned:
    """Returns what a function returns, or raises what it raises of our errors, in a process of its own.

    Raises:
        RunError: The process ended without an answer.
    """
    context = warm_context()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, function, given))
    process.start()
    sender.close()
    try:
        answer, error = receiver.recv()
    except EOFError:
        process.join()
        raise RunError(f"A process that was to call {function.__name__} died: exit code {process.exitcode}.") from None
    except KeyboardInterrupt:
        # It listens to no signal, and an environment may hang in it: this process would wait for it at its end.
        process.kill()
        raise
    process.join()
    if error is not None:
        raise error
    returned: _Returned = answer
    return returned


def _answer(sender: Connection, function: Callable[..., Any], given: tuple[Any, ...]) -> None:
    try:
        sender.send((function(*given), None))
    except RLTransferError as error:
        sender.send((None, error))


@contextlib.contextmanager
def _signals_ignored() -> Iterator[None]:
    """Ignores what asks a process to end; what is started meanwhile ignores it for ever. Only for the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
