"""Shared by the fault tests."""

import signal

import pytest


@pytest.fixture(autouse=True)
def listening():
    """Signals that whoever started the tests had ignored (nohup, a job in the background) are heard, here and in children."""
    ignored = [kind for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(kind) == signal.SIG_IGN]
    for kind in ignored:
        signal.signal(kind, signal.default_int_handler if kind == signal.SIGINT else signal.SIG_DFL)
    yield
    for kind in ignored:
        signal.signal(kind, signal.SIG_IGN)
