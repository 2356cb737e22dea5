"""Which run folder a command means, and which configuration it starts from."""

from __future__ import annotations

import os
from pathlib import Path

from dogfast.cli.options import Invocation
from dogfast.config import RunConfig
from dogfast.config.presets import preset
from dogfast.config.resolve import remembered_config
from dogfast.environment import Choice
from dogfast.errors import DataError
from dogfast.run import RUNS, Run, default_place, is_run, newest_run, open_run

RUN_VARIABLE = "DOGFAST_RUN"


def output_place(invocation: Invocation) -> tuple[Choice[Path], RunConfig]:
    """Run folder and configuration of a command with ``--output``: the default is runs/CLASSES."""
    if invocation.run is not None:
        return Choice(invocation.run, "asked for by --output"), invocation.resolve(base_config(invocation, invocation.run))
    place = default_place(_classes(invocation))
    return Choice(place, "the default for these classes"), invocation.resolve(base_config(invocation, place))


def argument_place(invocation: Invocation) -> tuple[Choice[Path], RunConfig]:
    """Run folder and configuration of a command with ``[RUN]``: named, by ``--classes``, by variable, or the newest."""
    if invocation.run is not None:
        open_run(invocation.run)
        return Choice(invocation.run, "named"), invocation.resolve(base_config(invocation, invocation.run))
    if "classes" in invocation.flags.get("data", {}):
        return output_place(invocation)
    variable, newest = os.environ.get(RUN_VARIABLE), newest_run(RUNS)
    if variable:
        open_run(Path(variable))
        return Choice(Path(variable), f"from ${RUN_VARIABLE}"), invocation.resolve(base_config(invocation, Path(variable)))
    if newest is not None:
        return Choice(newest, f"the newest under {RUNS}/"), invocation.resolve(base_config(invocation, newest))
    return output_place(invocation)


def base_config(invocation: Invocation, place: Path) -> RunConfig:
    """What an existing run was last used with, else the preset of the classes that were asked for.

    Raises :class:`DataError` for a run whose configuration is broken, or gone and not given again.
    """
    run = Run(place)
    if is_run(place) and run.config_file.exists():
        return remembered_config(run.config_file)
    told = invocation.config_file is not None or "classes" in invocation.flags.get("data", {})
    if is_run(place) and run.state["stages"] and not told:
        raise DataError(f"{run.config_file} is missing; put it back, or say with --config or --classes what the run is of")
    return preset(_classes(invocation))


def _classes(invocation: Invocation) -> str:
    return invocation.resolve(RunConfig()).data.classes
