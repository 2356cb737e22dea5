"""Generators with fake networks, killed at many random moments. Run as a script; it says what happened as JSON.

`lone RUN SEED KILLS`: one process after the other. `crew RUN SEED KILLS`: two at a time, of which one is killed by chance and
the other by what would be the launcher. `calm RUN`: nobody is killed. All is imported once and forked.
`ray RUN SEED KILLS`: two painters on a cluster that stays, killed as they come back; a run that gives up is started again.
"""

import json
import os
import random
import runpy
import shutil
import signal
import socket
import sys
import threading
import time
import traceback
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace

HERE = Path(__file__).parent
fakes = SimpleNamespace(**runpy.run_path(str(HERE.parent / "synthesis" / "fakes.py")))
painting = SimpleNamespace(**runpy.run_path(str(HERE / "painting.py")))

IMAGES = 600
PAUSE_S, DISK_S = 0.004, 0.02
"""A denoising call and an fsync: without them there would be no moment between two of them."""
LIFE_S = 0.6
"""How long a process lives at most, for each that begins with it."""
MOST_LIVES = 100


def paint(root, pause_s=0.0, disk_s=0.0):
    """What one of the processes that a launcher starts does, the fake generator in the place of the real one."""
    from dogfast.events import Events
    from dogfast.synthesis.crew import join_crew
    from dogfast.synthesis.worker import paint_alone

    painting.slow_disk(disk_s)
    crew = join_crew()
    with fakes.installed(pause_s=pause_s):
        if crew.rank:
            crew.assist(lambda run: Events())
        else:
            lead(root, crew.paint if crew.size > 1 else paint_alone)


def lead(root, paint_all):
    from dogfast.events import Events
    from dogfast.run import launch
    from dogfast.synthesis.stage import generate

    config = fakes.config(m=IMAGES // len(fakes.CLASSES), samples_per_shard=2, rows=2)
    with launch(root, config.to_toml()) as run:
        fakes.write_conditions(config, run, None)
        generate(config, run, Events(), paint_all)


def born(root, **speed):
    """A process that paints."""
    child = os.fork()
    if child == 0:
        try:
            paint(root, **speed)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return child


def crew_of(size, root, **speed):
    """The processes of a launch, with the variables a launcher sets."""
    if size == 1:
        return [born(root, **speed)]
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    children = []
    for rank in range(size):
        os.environ |= {"WORLD_SIZE": str(size), "RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(size)}
        children.append(born(root, **speed))
    return children


def ended(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def phase(folder, pid="*"):
    """What the killed were at, by what they left."""
    if list(folder.glob(f".train-*.part-{pid}")):
        return "writing a tar"
    if list(folder.glob(f"records/.*.part-{pid}")):
        return "writing a record"
    if len(list(folder.glob("train-*.tar"))) > committed_in(folder):
        return "between tar and record"
    return "painting" if folder.exists() else "before the first image"


def committed_in(folder):
    return len(list(folder.glob("records/0*.json")))


def storm(size, root, seed, kills):
    chance, died, phases, victims = random.Random(int(seed)), 0, Counter(), Counter()
    for _ in range(MOST_LIVES):
        if died == kills:
            break
        children = crew_of(size, root, pause_s=PAUSE_S, disk_s=DISK_S * size)
        time.sleep(chance.uniform(0.05, LIFE_S * (1 + size) / 2))
        victim = chance.randrange(size)
        os.kill(children[victim], signal.SIGKILL)
        ends = [ended(children[victim])]
        for other in children[:victim] + children[victim + 1 :]:
            os.kill(other, signal.SIGKILL)
            ends.append(ended(other))
        if ends[0] == -signal.SIGKILL:
            died += 1
            phases[phase(root / "outliers" / "dog")] += 1
            victims[victim] += 1
    committed = committed_in(root / "outliers" / "dog")
    last = [ended(child) for child in crew_of(size, root)]
    return {"kills": died, "phases": phases, "victims": victims, "committed": committed, "last": last}


# --- on Ray -----------------------------------------------------------------------------------------------------
class Killer(threading.Thread):
    """Kills painters by chance some moments after each has come to life."""

    def __init__(self, root, births, seed, kills):
        super().__init__(daemon=True)
        self.folder, self.births, self.kills = root / "outliers" / "dog", births, kills
        self.chance, self.died, self.phases = random.Random(int(seed)), 0, Counter()

    def run(self):
        known, due = set(), {}
        while self.died < self.kills:
            for birth in set(self.births.iterdir()) - known:
                known.add(birth)
                due[int(birth.name)] = time.monotonic() + self.chance.uniform(0.05, 2 * LIFE_S)
            for pid in [pid for pid, moment in due.items() if moment < time.monotonic()]:
                del due[pid]
                if is_painter(pid) and self.died < self.kills:
                    os.kill(pid, signal.SIGKILL)
                    self.died += 1
                    self.phases[phase(self.folder, pid)] += 1
            time.sleep(0.005)
        self.committed = committed_in(self.folder)


def is_painter(pid):
    """Whether it still lives: a launch that gives up ends its painters, and numbers are used again."""
    with suppress(OSError):
        return b"FakePainter" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def storm_on_ray(root, seed, kills):
    from ray.cluster_utils import Cluster

    import dogfast.synthesis.cluster as cluster
    from dogfast.errors import EnvironmentFault

    script, births = os.path.abspath(__file__), root.with_name("births")
    births.mkdir(parents=True)

    class FakePainter(cluster.Painter):
        def __init__(self, *given):
            super().__init__(*given)
            me = runpy.run_path(script)
            calm = not births.exists()
            os.environ |= {"PAUSE_S": str(0 if calm else PAUSE_S), "DISK_S": str(0 if calm else 2 * DISK_S)}
            me["painting"].install()
            if not calm:
                (births / str(os.getpid())).touch()

    cluster.Painter = FakePainter
    machine = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    killer = Killer(root, births, seed, kills)
    killer.start()
    launches = 0
    with fakes.installed():
        while killer.is_alive():
            launches += 1
            assert launches < MOST_LIVES
            try:
                lead(root, cluster.paint_on_cluster(machine.address, 2))
            except EnvironmentFault as error:
                print(error, file=sys.stderr)
        shutil.rmtree(births)
        lead(root, cluster.paint_on_cluster(machine.address, 2))
    machine.shutdown()
    return {"kills": killer.died, "last": [], "phases": killer.phases, "launches": launches, "committed": killer.committed}


def main(what, root, seed="0", kills="0"):
    import torch

    torch.set_num_threads(1)
    import torch.distributed

    import dogfast.synthesis.crew
    import dogfast.synthesis.stage  # noqa: F401 - loaded once, before the children are forked

    if what == "ray":
        return storm_on_ray(Path(root), seed, int(kills))
    return storm({"calm": 1, "lone": 1, "crew": 2}[what], Path(root), seed, int(kills))


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
