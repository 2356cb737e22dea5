"""What `refine` is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from dogfast.config.detection import SCORES
from dogfast.config.option import one_of, require


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """At most ``rounds``; no further one after ``patience`` that did not lower FPR95 on validation; by ``score`` is told who is
    accepted."""

    rounds: int = 3
    patience: int = 1
    score: str = "msp"

    def __post_init__(self) -> None:
        require(self.rounds >= 1, f"--rounds {self.rounds} must be at least 1")
        require(self.patience >= 1, f"--patience {self.patience} must be at least 1")
        one_of(self.score, SCORES, "--score")
