"""Commands as people type them, each in a process of its own."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.environment import ENVIRONMENT

PATIENCE_S = 1800


@dataclass(frozen=True)
class Typed:
    out: str
    said: str

    @property
    def answer(self) -> dict[str, Any]:
        """What ``--json`` printed last."""
        return json.loads(self.out.splitlines()[-1])


def typed(command: str, place: Path, code: int = 0) -> Typed:
    """What `dogfast …` says in ``place``; fails where it ends with another code."""
    words = command.split()
    assert words[0] == "dogfast"
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=place, env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == code, done.stderr
    return Typed(done.stdout, done.stderr)
