"""`dogfast doctor`: what this machine has, what that means, and what to do."""

from __future__ import annotations

import dataclasses

import typer

from dogfast.cli.answer import answer
from dogfast.cli.options import Invocation, add_command
from dogfast.errors import EnvironmentFault


def register(app: typer.Typer) -> None:
    add_command(app, "doctor", (), doctor)


def doctor(invocation: Invocation) -> None:
    """Check versions, device, memory, models and vocabularies; print every choice with its reason and every fix."""
    from dogfast import __version__
    from dogfast.doctor import findings

    found = findings()
    lines = [f"dogfast {__version__}"]
    for finding in found:
        why = f" ({finding.reason})" if finding.reason else ""
        lines.append(f"{finding.status:<5}{finding.name:<20}{finding.found}{why}")
        if finding.fix:
            lines.append(f"     {'':<20}fix: {finding.fix}")
    answer(
        invocation, {"dogfast": __version__, "findings": [dataclasses.asdict(finding) for finding in found]}, "\n".join(lines)
    )
    failed = [finding.name for finding in found if finding.status == "fail"]
    if failed:
        raise EnvironmentFault(f"{len(failed)} findings must be mended first: {', '.join(failed)}")
