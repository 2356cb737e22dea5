"""A process that paints with a fake generator, to be killed. Run as a script; it says what happened as JSON.

`cli FLAG …`: the command `dogfast generate …` itself. `points RUNS N …`: for each N a process that SIGKILLs itself before its
N-th fsync or rename, and one that goes on. `moments RUN S …`: one run, killed after each of these seconds, and ended.
"""

import json
import os
import runpy
import signal
import sys
import time
import traceback
from pathlib import Path
from types import SimpleNamespace

fakes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "synthesis" / "fakes.py")))


def paint(root, die_at=None, **options):
    from dogfast.events import Events
    from dogfast.run import launch
    from dogfast.synthesis.stage import generate

    if die_at is not None:
        deadly(die_at)
    config = fakes.config(m=8, samples_per_shard=4)
    with fakes.installed(**options), launch(root, config.to_toml()) as run:
        fakes.write_conditions(config, run, None)
        generate(config, run, Events())


def deadly(moment):
    """Kill this process before the given call of fsync or rename."""
    import dogfast.run

    calls = iter(range(100_000))

    def guarded(plain):
        def call(*given):
            if next(calls) == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            plain(*given)

        return call

    dogfast.run.os.fsync, dogfast.run.os.replace = guarded(os.fsync), guarded(os.replace)


def slow_disk(seconds):
    """Every fsync of what belongs to a shard takes so long."""
    import dogfast.run

    def fsync(descriptor, plain=os.fsync):
        if f"{os.sep}outliers{os.sep}" in os.readlink(f"/proc/self/fd/{descriptor}"):
            time.sleep(seconds)
        plain(descriptor)

    dogfast.run.os.fsync = fsync


def forked(work, kill_after_s=None):
    """The signal that ended a child doing ``work``, 0 for a good end, -1 for a bad one."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)


def points(runs, *moments):
    import dogfast.synthesis.stage  # noqa: F401 - loaded once, before the children are forked

    runs, ends = Path(runs), {}
    whole = forked(lambda: paint(runs / "whole"))
    for moment in moments:
        root = runs / moment
        died = forked(lambda root=root, moment=moment: paint(root, die_at=int(moment)))
        ends[moment] = [died, forked(lambda root=root: paint(root))]
    return {"whole": whole, "ends": ends}


def moments(run, *seconds):
    import dogfast.synthesis.stage  # noqa: F401

    run = Path(run)
    ends = [forked(lambda: paint(run, pause_s=0.01), float(after)) for after in seconds]
    return {"ends": ends, "last": forked(lambda: paint(run))}


def hang(run):
    """A process whose device hangs in its third batch, and one that goes on."""
    import dogfast.synthesis.stage  # noqa: F401
    import dogfast.synthesis.watchdog as watchdog

    watchdog.LEAST_LIMIT_S = 0.5
    run = Path(run)
    return {"hung": forked(lambda: paint(run, calls=Hanging())), "last": forked(lambda: paint(run))}


class Hanging(list):
    """Calls of the networks, the device's last being in the third batch."""

    def append(self, call):
        super().append(call)
        if sum(what == "decode" for what, _ in self) == 2:
            time.sleep(1e6)


def install():
    """The fake generator in the place of the real one, for good."""
    import dogfast.synthesis.encoding as encoding
    import dogfast.synthesis.job as job
    import dogfast.synthesis.watchdog as watchdog
    import dogfast.synthesis.worker as worker

    slow_disk(float(os.environ.get("DISK_S", "0")))
    watchdog.LEAST_LIMIT_S = float(os.environ.get("LIMIT_S", watchdog.LEAST_LIMIT_S))
    job.Pipeline = fakes.FakePipeline
    worker.open_networks = encoding.open_networks = open_networks


def open_networks(pipeline, config, events):
    """The fakes, or the error that $BAD_ENGINE asks for."""
    from dogfast.errors import EnvironmentFault

    bad = os.environ.get("BAD_ENGINE", "")
    if bad:
        raise {"told": EnvironmentFault, "raw": RuntimeError}[bad]("the engine is broken")
    return fakes.networks(Mortal(), pause_s=float(os.environ["PAUSE_S"]))


class Mortal(list):
    """Calls of the networks. The process $RANK = $DIE_RANK is killed after $DIE_AFTER_BATCHES decoded batches, or with
    $DIE_BY = hang its device answers no more; once: the file $DIE_MARK tells that it was."""

    def append(self, call):
        super().append(call)
        decoded = sum(what == "decode" for what, _ in self)
        if os.environ.get("RANK") == os.environ.get("DIE_RANK", "-") and decoded == int(os.environ["DIE_AFTER_BATCHES"]):
            mark = Path(os.environ["DIE_MARK"])
            if not mark.exists():
                mark.touch()
                if os.environ.get("DIE_BY") == "hang":
                    time.sleep(1e6)
                os.kill(os.getpid(), signal.SIGKILL)


def cli(*arguments):
    import dogfast.synthesis.cluster as cluster
    import dogfast.workflows.chain as chain
    from dogfast.cli.main import main

    class FakePainter(cluster.Painter):
        def __init__(self, *given):
            super().__init__(*given)
            os.environ["RANK"] = str(self._number)
            runpy.run_path(script)["install"]()

    script = os.path.abspath(__file__)
    chain.find_anchors = fakes.write_conditions
    cluster.Painter = FakePainter
    install()
    sys.argv = ["dogfast", "generate", *arguments]
    main()


if __name__ == "__main__":
    print(json.dumps({"points": points, "moments": moments, "hang": hang, "cli": cli}[sys.argv[1]](*sys.argv[2:])))
