"""`dogfast shards`: what a run holds, whether it is whole, and how to mend it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from dogfast.cli.answer import answer, events_of, run_stage
from dogfast.cli.options import Invocation, add_command
from dogfast.cli.places import argument_place
from dogfast.errors import DataError
from dogfast.run import Run

SOURCE = {"source": (str, typer.Option("", "--source", help="one source, as dog; default: every source of the run"))}
OUTPUT = {"output": (Path | None, typer.Option(None, "--output", help="folder to write; default RUN/export/SOURCE"))}
SHOWN = 3


def register(app: typer.Typer) -> None:
    shards = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(shards, name="shards", help="List, verify, repair and export the shards of a run.")
    add_command(shards, "ls", (), list_command, run="argument", extra=SOURCE)
    add_command(shards, "verify", (), verify_command, run="argument", extra=SOURCE)
    add_command(shards, "repair", ("model",), repair_command, run="argument", extra=SOURCE)
    add_command(shards, "export", (), export_command, run="argument", extra=SOURCE | OUTPUT)


def list_command(invocation: Invocation) -> None:
    """List shards, images or latents, bytes and engines of every source."""
    from dogfast.workflows.shards import list_shards

    place, _ = argument_place(invocation)
    result = list_shards(Run(place.value), invocation.extra["source"])
    answer(invocation, result, "\n".join(f"{name}: {_line(found)}" for name, found in result["sources"].items()))


def verify_command(invocation: Invocation) -> None:
    """Read, decode and hash every image or latent and compare it with the records; changes nothing. Exit code 4 where one differs."""
    from dogfast.workflows.shards import verify_shards

    place, _ = argument_place(invocation)
    events = events_of(invocation)
    result = verify_shards(Run(place.value, events.say), invocation.extra["source"], events)
    reasons = [fault["reason"] for faults in result["faults"].values() for fault in faults]
    answer(invocation, result, f"{result['shards'] - len(reasons)} of {result['shards']} shards are whole")
    if reasons:
        more = f" and {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else ""
        raise DataError(f"{'; '.join(reasons[:SHOWN])}{more}; `dogfast shards repair {place.value}` paints them anew")


def repair_command(invocation: Invocation) -> None:
    """Take damaged shards away and paint them anew, and say whether their pixels are the recorded ones again."""
    from functools import partial

    from dogfast.workflows.shards import repair_shards, verify_shards

    place, config = argument_place(invocation)
    source = invocation.extra["source"]
    run_stage(
        invocation,
        place,
        config,
        partial(repair_shards, source=source),
        lambda config, run, events: verify_shards(run, source, events),
        _repaired,
    )


def export_command(invocation: Invocation) -> None:
    """Write outliers as image files in folders of classes and anchors, with OpenOOD's lists of images (train.txt, val.txt)."""
    from dogfast.workflows.shards import export_images, plan_export_images

    place, config = argument_place(invocation)
    source, output = invocation.extra["source"], invocation.extra["output"]
    run_stage(
        invocation,
        place,
        config,
        lambda config, run, events: export_images(run, source, output, events),
        lambda config, run, events: plan_export_images(run, source, output),
        lambda result: f"{result['images']} images in {result['output']}",
    )


def _line(found: dict[str, Any]) -> str:
    whole = f"{found['samples']} {found['kind']}s in {found['shards']} of {found['planned_shards']} planned shards, {found['bytes']:,} bytes"
    return f"{whole}, {found['resampled']} painted again, {found['failed']} failed ({'; '.join(found['engines'])})"


def _repaired(result: dict[str, Any]) -> str:
    lines = [
        f"{name}/{fault['record']}: painted anew, pixels: {fault['pixels']} (it was: {fault['reason']})"
        for name, faults in result["repaired"].items()
        for fault in faults
    ]
    return "\n".join(lines) or "every shard is whole"
