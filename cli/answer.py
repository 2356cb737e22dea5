"""How a command answers: JSON or text on stdout, progress and notes on stderr, a diary in the run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from dogfast.cli.options import Invocation
from dogfast.config import RunConfig
from dogfast.environment import Choice, free_bytes
from dogfast.errors import PartialFailure
from dogfast.events import Events, diary, for_stream
from dogfast.run import Run, launch, require_run_place

Work = Callable[[RunConfig, Run, Events], dict[str, Any]]
Plan = Callable[[RunConfig, Run, Events], dict[str, Any]]
Opening = Callable[[Path, str], AbstractContextManager[Run]]


def run_stage(
    invocation: Invocation,
    place: Choice[Path],
    config: RunConfig,
    work: Work,
    plan: Plan,
    render: Callable[[dict[str, Any]], str],
    opening: Opening = launch,
) -> dict[str, Any]:
    """Do ``work`` in the run at ``place``, as ``opening`` gives it, or print ``plan`` for ``--dry-run``; answer with the result, and return it."""
    events = events_of(invocation)
    events.say(f"run {place.value} ({place.reason})")
    if invocation.dry_run:
        require_run_place(place.value)
        planned = {"run": str(place.value), "dry_run": True, **plan(config, Run(place.value, events.say), events)}
        planned["disk_free_bytes"] = free_bytes(place.value)
        answer(invocation, planned, render_plan(planned))
        return planned
    with opening(place.value, config.to_toml()) as run:
        events = Events(*events.sinks, diary(run.events()))
        run.say = events.say
        result = work(config, run, events)
    answer(invocation, result, render(result))
    return result


def events_of(invocation: Invocation) -> Events:
    """Progress and notes on stderr, or nowhere with ``--quiet``."""
    return Events() if invocation.quiet else Events(for_stream(sys.stderr))


def refuse_failed(result: dict[str, Any], remedy: str) -> None:
    """Raise :class:`PartialFailure` where some outliers of ``result`` could not be painted; ``remedy`` is what may be done."""
    if result.get("failed"):
        raise PartialFailure(
            f"{result['failed']} outliers could not be painted and are left out (the shards' records say why); {remedy}"
        )


def answer(invocation: Invocation, result: dict[str, Any], text: str) -> None:
    """``result`` as the last line of stdout with ``--json``, else ``text``."""
    print(json.dumps(result, ensure_ascii=False) if invocation.json else text, flush=True)


def render_plan(planned: dict[str, Any]) -> str:
    """A line a field, and one for each object of a list."""
    return "\n".join(f"{key.replace('_', ' ')}: {_listed(value)}" for key, value in planned.items())


def _listed(value: Any) -> Any:
    if not (isinstance(value, list) and value and all(isinstance(each, dict) for each in value)):
        return value
    return "".join("\n  " + ", ".join(f"{name} {told}" for name, told in each.items()) for each in value)
