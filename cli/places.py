"""Which run folder a command means, and which configuration it starts from."""

from __future__ import annotations

import os
from pathlib import Path

from dogfast.cli.options import Invocation

from dogfast.config import RunConfig
from dogfast.config.resolve import read_toml
from dogfast.environment import Choice
from dogfast.errors import RunMismatch
from dogfast.run import RUNS, Run, default_place, is_run, newest_run, open_run

RUN_VARIABLE = "DOGFAST_RUN"


def output_place(invocation: Invocation) -> tuple[Choice[Path], RunConfig]:
    """Run folder and configuration of a command with ``--output``: the default is runs/CLASSES."""
    if invocation.run is not None:
        return Choice(invocation.run, "asked for by --output"), invocation.resolve(stored_config(invocation.run))
    classes = invocation.resolve(RunConfig()).data.classes
    place = default_place(classes)
    return Choice(place, "the default for these classes"), invocation.resolve(stored_config(place))


def argument_place(invocation: Invocation, must_exist: bool = False) -> tuple[Choice[Path], RunConfig]:
    """Run folder and configuration of a command with ``[RUN]``: named, by ``--classes``, by variable, or the newest."""
    if invocation.run is not None:
        open_run(invocation.run)
        return Choice(invocation.run, "named"), invocation.resolve(stored_config(invocation.run))
    if "classes" in invocation.flags.get("data", {}):
        return output_place(invocation)
    variable, newest = os.environ.get(RUN_VARIABLE), newest_run(RUNS)
    if variable:
        open_run(Path(variable))
        return Choice(Path(variable), f"from ${RUN_VARIABLE}"), invocation.resolve(stored_config(Path(variable)))
    if newest is not None:
        return Choice(newest, f"the newest under {RUNS}/"), invocation.resolve(stored_config(newest))
    if must_exist:
        raise RunMismatch(f"there is no run under {RUNS}/; make one with `dogfast generate`, or name one")
    return output_place(invocation)


def stored_config(place: Path) -> RunConfig:
    """The configuration an existing run was last used with, else the defaults."""
    run = Run(place)
    if not is_run(place) or not run.config_file.exists():
        return RunConfig()
    return RunConfig().with_values(read_toml(run.config_file), str(run.config_file))
