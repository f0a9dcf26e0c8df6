"""Being asked to stop by SIGTERM, as schedulers and `kill` do. The exit status is then 143.

A training saves its state first (vared/checkpoints.py leaves after the next one that is on disk), for at most
GRACE_SECONDS; everything else stops where it is, and what it was writing is removed.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from vared.failures import TERMINATED

GRACE_SECONDS = 10.0


class Terminated(SystemExit):
    """Raised in the main thread where SIGTERM ends the work."""

    def __init__(self):
        super().__init__(TERMINATED)


class Interval(float):
    """Seconds from one saved state to the next, for `fit`; over at once when this process was asked to stop."""

    def __le__(self, passed: float) -> bool:  # Python asks the subclass first, also for `passed >= interval`
        return asked() or super().__le__(passed)


class _Request:
    """What this process was asked, and whether it is training; a process forked from it has no part in that."""

    training_in, asked = None, False


def asked() -> bool:
    """Whether the training of this process was asked to stop."""
    return _Request.asked and _Request.training_in == os.getpid()


def leave_if_asked() -> None:
    """Raise Terminated when asked to stop; called where a state has just been saved."""
    if asked():
        raise Terminated


@contextmanager
def on_sigterm() -> Iterator[None]:
    """Within it, SIGTERM raises Terminated, in a training (`saving_first`) once its state is saved."""
    if threading.current_thread() is not threading.main_thread():  # only that one can take signals
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)}
    signal.signal(signal.SIGTERM, _on_signal)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def saving_first() -> Iterator[None]:
    """Within it, SIGTERM waits for the next saved state, up to GRACE_SECONDS; another error then counts as the stop."""
    _Request.training_in, _Request.asked = os.getpid(), False
    try:
        yield
    except Exception as error:
        if asked():  # such as workers that got the signal too
            raise Terminated from error
        raise
    finally:
        _Request.training_in, _Request.asked = None, False


def _on_signal(number: int, frame) -> None:
    if _Request.training_in != os.getpid():
        raise Terminated
    _Request.asked = True
    signal.signal(signal.SIGALRM, _on_time_up)
    signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)


def _on_time_up(number: int, frame) -> None:
    raise Terminated
