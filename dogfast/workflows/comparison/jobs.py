"""Several classifiers at a time, each in a process of its own: a small network leaves most cores, or most of a GPU, waiting."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from dogfast.config import RunConfig
from dogfast.environment import processor_count
from dogfast.errors import DogfastError, EnvironmentFault
from dogfast.events import Events, diary
from dogfast.run import TRAINING, Run, exclusive
from dogfast.workflows.chain import prepare_training
from dogfast.workflows.comparison.cells import Cell, bring_source, complete, complete_prepared
from dogfast.workflows.comparison.rows import BASELINE

Attempt = tuple[Cell, DogfastError | None]
"""A cell and why it failed, if it did."""


def completed(cells: list[Cell], what: str, jobs: int, events: Events) -> Iterator[Attempt]:
    """Complete the ``cells`` of one run, ``jobs`` at a time, and give each as it is done; the baseline before all that need it."""
    alone = [cell for cell in cells if jobs == 1 or cell.config.training.objective == BASELINE]
    apart = [cell for cell in cells if cell not in alone]
    for number, cell in enumerate(alone, 1):
        events.say(f"{what}, {number} of {len(cells)}: {cell.name}")
        yield cell, _fault(complete, cell, events)
    if apart:
        yield from _completed_together(apart, jobs, events)


def _completed_together(cells: list[Cell], jobs: int, events: Events) -> Iterator[Attempt]:
    """What they learn from is painted first, by this process, with all that the machine has."""
    prepared = []
    for cell in cells:
        fault = _fault(_prepare, cell, events)
        if fault:
            yield cell, fault
        else:
            prepared.append(cell)
    if not prepared:
        return
    run, jobs = prepared[0].run, min(jobs, len(prepared))
    events.say(f"{len(prepared)} classifiers, {jobs} at a time; what each says stands in {run.events('CLASSIFIER')}")
    with (
        exclusive(run.root, TRAINING),
        _workers(jobs) as pool,
        events.progress("classifiers", len(prepared), "classifier") as advance,
    ):
        futures = {pool.submit(_complete_apart, cell.config, run.root): cell for cell in prepared}
        for future in as_completed(futures):
            fault = future.exception()
            if isinstance(fault, BrokenProcessPool):
                raise EnvironmentFault(
                    f"--jobs {jobs}: a process that trained was killed, as where memory is short; try fewer, "
                    "the same command goes on where it stopped"
                ) from fault
            if fault is not None and not isinstance(fault, DogfastError):
                raise fault
            advance(1)
            yield futures[future], fault


def _prepare(cell: Cell, events: Events) -> None:
    bring_source(cell, events)
    prepare_training(cell.config, cell.run, events)


def _fault(work: Callable[[Cell, Events], None], cell: Cell, events: Events) -> DogfastError | None:
    try:
        work(cell, events)
    except DogfastError as error:
        return error
    return None


# --- processes --------------------------------------------------------------------------------------------------
@contextmanager
def _workers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """``jobs`` processes, which end with this one, however it ends."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, _begin, (jobs,))
    try:
        yield pool
    except BaseException:
        for process in multiprocessing.active_children():
            process.kill()  # what they had not committed is done again
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(jobs: int) -> None:
    """A worker's share of the machine; whoever started all of them says when they end."""
    import torch

    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    os.environ["LOCAL_WORLD_SIZE"] = str(jobs)  # as launchers tell their processes
    torch.set_num_threads(processor_count())


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _complete_apart(config: RunConfig, root: Path) -> None:
    run = Run(root)
    cell = Cell(config, run)
    events = Events(diary(run.events(cell.name)))
    run.say = events.say
    complete_prepared(cell, events)
