"""Painting on a Ray cluster, where machines come and go: a painter that dies is started again, its shard painted anew."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

from dogfast.config import RunConfig
from dogfast.environment import machine_cores
from dogfast.errors import EnvironmentFault
from dogfast.events import Events, diary
from dogfast.run import Run
from dogfast.synthesis.job import Job, open_job
from dogfast.synthesis.plan import Shard, read_segments, shards_of
from dogfast.synthesis.worker import Advance, PaintAll, Record, Worker, tell_of_shard
from dogfast.text import first_line

AT_ONCE = 2
"""Shards a painter holds: one is painted while the other is committed."""
RESTARTS = 3
PLACES_WITHIN_S = 300.0
"""A painter that has a place answers as soon as its process has loaded Python's packages."""
LOCAL, ANY = "local", "auto"


class Painter:
    """An actor: one process with its networks, on whatever machine of the cluster. The run's folder is one they all see."""

    def __init__(self, config: RunConfig, root: Path, working_folder: str, number: int, cores: int):
        with suppress(OSError):
            os.chdir(working_folder)
        os.environ["LOCAL_WORLD_SIZE"] = str(max(1, machine_cores() // cores))  # as launchers tell their processes
        self._config, self._run, self._number = config, Run(root), number
        self._painting = Lock()
        self._worker: Worker | None = None
        self._shards: dict[int, Shard] = {}

    def ready(self) -> bool:
        """Answers once the cluster has a place for this painter."""
        return True

    def paint(self, number: int) -> Record:
        """Paint and commit the planned shard ``number``."""
        with self._painting:
            worker = self._worker = self._worker or self._open()
            fresh = worker.paint(self._shards[number])
        return worker.commit(fresh)

    def _open(self) -> Worker:
        """Only with the first shard: what an actor raises while it is made is not told as it is."""
        events = Events(diary(self._run.events(self._number)))
        self._run.say = events.say
        job = open_job(self._config, self._run)
        self._shards = shards_of(read_segments(self._run.plan(job.source)), job.class_of)
        return Worker(job, self._number, events)


def paint_on_cluster(address: str, workers: int) -> PaintAll:
    """`PaintAll` on the cluster at ``address``: `local` makes one of this machine, `auto` finds the running one.

    ``workers`` painters; 0: one a GPU, or one a machine where there is none. Raises EnvironmentFault where there is no Ray
    or no such cluster, or where painters die again and again.
    """

    def paint_all(job: Job, shards: list[Shard], events: Events, advance: Advance) -> None:
        if not shards:
            return
        ray = _connected(address)
        try:
            painters = _ready(ray, _painters(ray, job, min(workers or _places(ray), len(shards)), events), events)
            sizes = {shard.number: len(shard) for shard in shards}
            pool = ray.util.ActorPool([painter for painter in painters for _ in range(AT_ONCE)])
            for record in pool.map_unordered(lambda painter, number: painter.paint.remote(number), list(sizes)):
                advance(sizes[record["shard"]])
                tell_of_shard(record, events)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except ray.exceptions.RayError as error:
            raise EnvironmentFault(
                f"--ray {address}: {first_line(error)}; the same command goes on where it stopped"
            ) from error
        finally:
            ray.shutdown()

    return paint_all


def _connected(address: str) -> Any:
    try:
        import ray
    except ImportError as error:
        raise EnvironmentFault("--ray needs Ray; install it with `pip install 'dogfast[ray]'`") from error
    import ray.util

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    where = {} if address == LOCAL else {"address": address}
    try:
        ray.init(**where, include_dashboard=False if address == LOCAL else None, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise EnvironmentFault(
            f"--ray {address}: no cluster answers ({first_line(error)}); start one with `ray start --head`, or choose --ray local"
        ) from error
    return ray


def _places(ray: Any) -> int:
    """Painters a cluster has room for: its GPUs, or its machines."""
    return int(ray.cluster_resources().get("GPU", 0)) or sum(node["Alive"] for node in ray.nodes())


def _painters(ray: Any, job: Job, count: int, events: Events) -> list[Any]:
    cpus, gpus = share_of([node["Resources"] for node in ray.nodes() if node["Alive"]], count)
    cores = max(1, int(cpus))
    events.say(f"{count} painters on Ray, each with {cores} cores and {gpus:g} GPUs")
    actor = ray.remote(Painter).options(
        num_cpus=0 if gpus else min(cpus, cores),
        num_gpus=gpus,
        max_concurrency=AT_ONCE,
        max_restarts=RESTARTS,
        max_task_retries=RESTARTS,
    )
    place = (job.config, job.run.root.absolute(), os.getcwd())
    return [actor.remote(*place, number, cores) for number in range(count)]


def share_of(machines: list[dict[str, float]], count: int) -> tuple[float, float]:
    """Cores and GPUs for each of ``count`` painters, so that the ``machines`` of a cluster hold them all: a painter is on one machine
    alone. On GPUs the cores are those of the machine that has fewest for its GPUs; they bind no one."""
    machines = [machine for machine in machines if machine.get("CPU", 0) > 0] or [{"CPU": 1}]
    gpus = [int(machine.get("GPU", 0)) for machine in machines]
    if sum(gpus):
        on_each = math.ceil(count / sum(gpus))
        return min(machine["CPU"] / (own * on_each) for machine, own in zip(machines, gpus) if own), 1 / on_each
    return min(machine["CPU"] for machine in machines) / math.ceil(count / len(machines)), 0.0


def _ready(ray: Any, painters: list[Any], events: Events) -> list[Any]:
    """Those of ``painters`` that found a place. Raises EnvironmentFault where none does."""
    asked = {painter.ready.remote(): painter for painter in painters}
    found, waiting = ray.wait(list(asked), num_returns=len(asked), timeout=PLACES_WITHIN_S)
    if not found:
        raise EnvironmentFault(
            f"--ray: in {PLACES_WITHIN_S:.0f} s the cluster had no place for a painter; see `ray status` for who holds it, or lower --workers"
        )
    if waiting:
        events.say(f"{len(waiting)} of {len(painters)} painters found no place on the cluster; the others paint without them")
        for each in waiting:
            ray.kill(asked[each])
    return [asked[each] for each in found]
