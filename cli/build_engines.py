"""`dogfast build-engines`: the generator's networks as engines, ahead of time."""

from __future__ import annotations

from typing import Any

import typer

from dogfast.cli.answer import answer, events_of
from dogfast.cli.options import Invocation, add_command
from dogfast.config import RunConfig

EXTRA = {
    "classes": (str, typer.Option("shapes", "--classes", help="class set whose generator is meant where --model is auto")),
    "target": (
        list[str],
        typer.Option([], "--target", help="GPUs that need not be here: sm75,sm80,sm86,sm89,sm120; default: this machine"),
    ),
    "rows": (int, typer.Option(0, "--rows", help="images painted together; 0 = chosen as generate does")),
    "resolution": (int, typer.Option(0, "--resolution", help="painted side in pixels; 0 = the model's own")),
    "deepcache": (int, typer.Option(1, "--deepcache", help="as generate is given it: other networks if more than 1")),
    "network": (list[str], typer.Option([], "--network", help="only this network; may be repeated")),
    "random_weights": (bool, typer.Option(False, "--random-weights", help="Stable Diffusion v1.5's sizes, no download")),
    "prune": (bool, typer.Option(False, "--prune", help="build nothing; remove engines that cannot be opened any more")),
}


def register(app: typer.Typer) -> None:
    add_command(app, "build-engines", ("model",), build_engines, extra=EXTRA)


def build_engines(invocation: Invocation) -> None:
    """Export the networks to ONNX and build them for a backend, each checked against torch; what stands is kept."""
    from dogfast.config.option import require
    from dogfast.workflows.build_engines import Request, plan_engines, prune_engines
    from dogfast.workflows.build_engines import build_engines as work

    config, extra = invocation.resolve(RunConfig()).model, invocation.extra
    events = events_of(invocation)
    if extra["prune"]:
        require(not invocation.dry_run, "--prune removes what cannot be opened; it does not go with --dry-run")
        result = prune_engines(config)
        answer(
            invocation, result, f"{result['removed']} removed, {result['bytes_freed']} bytes freed in {result['engine_dir']}"
        )
        return
    targets = tuple(name for given in extra["target"] for name in given.split(","))
    networks = tuple(extra["network"])
    request = Request(
        extra["classes"], targets, extra["rows"], extra["resolution"], networks, extra["random_weights"], extra["deepcache"]
    )
    result = (plan_engines if invocation.dry_run else work)(config, request, events)
    answer(invocation, result, "\n".join(map(_line, result["engines"])) or "nothing to build")


def _line(engine: dict[str, Any]) -> str:
    where = f"{engine['backend']} {engine['target']}".rstrip()
    if "stands" in engine:
        shapes = ", ".join("x".join(map(str, shape)) for shape in engine["shapes"])
        return f"{engine['network']} {shapes} for {where}: {'stands' if engine['stands'] else 'to be built'}"
    parity = engine["parity"]
    shown = f"cosine {parity['cosine']:.6f}" if parity["cosine"] is not None else "its GPU is not here"
    return (
        f"{engine['network']}, {engine['rows']} rows, {engine['precision']} for {where}: parity {parity['verdict']} ({shown}), "
        f"{engine['bytes'] / 1e6:.1f} MB, {engine['build_s']} s, {engine['path']}"
    )
