"""Generators with fake networks, killed at many random moments. Run as a script; it says what happened as JSON.

`lone RUN SEED KILLS`: one process after the other. `crew RUN SEED KILLS`: two at a time, of which one is killed by chance and
the other by what would be the launcher. `calm RUN`: nobody is killed. All is imported once and forked.
"""

import json
import os
import random
import runpy
import signal
import socket
import sys
import time
import traceback
from collections import Counter
from contextlib import closing
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
    from dogfast.events import Events
    from dogfast.run import launch
    from dogfast.synthesis.crew import join_crew
    from dogfast.synthesis.stage import generate

    painting.slow_disk(disk_s)
    config = fakes.config(m=-(-IMAGES // len(fakes.CLASSES)), samples_per_shard=2, rows=2)
    crew = join_crew()
    with fakes.installed(pause_s=pause_s):
        if crew.rank:
            return crew.assist(lambda run: Events())
        with launch(root, config.to_toml()) as run:
            fakes.write_conditions(config, run, None)
            return generate(config, run, Events(), crew.paint if crew.size > 1 else paint_alone())


def paint_alone():
    from dogfast.synthesis.worker import paint_alone

    return paint_alone


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


def phase(folder):
    """What the killed were at, by what they left."""
    if list(folder.glob(".train-*.part-*")):
        return "writing a tar"
    if list(folder.glob("records/.*.part-*")):
        return "writing a record"
    if len(list(folder.glob("train-*.tar"))) > len(list(folder.glob("records/0*.json"))):
        return "between tar and record"
    return "painting" if folder.exists() else "before the first image"


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
    committed = len(list((root / "outliers" / "dog" / "records").glob("0*.json")))
    last = [ended(child) for child in crew_of(size, root)]
    return {"kills": died, "phases": phases, "victims": victims, "committed": committed, "last": last}


def main(what, root, seed="0", kills="0"):
    import torch

    torch.set_num_threads(1)
    import torch.distributed

    import dogfast.synthesis.crew
    import dogfast.synthesis.stage  # noqa: F401 - loaded once, before the children are forked

    return storm({"calm": 1, "lone": 1, "crew": 2}[what], Path(root), seed, int(kills))


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
