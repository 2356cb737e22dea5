"""What `train.py` and `judge.py` are told, and where they work."""

import math
import time
from argparse import ArgumentParser
from dataclasses import dataclass
from pathlib import Path

import torch
from recipe.loop import Loop
from settings import SEED, SETTINGS

from dogfast.environment import choose_training_precision

HERE = Path(__file__).parent
WORK = HERE.parents[1] / "build" / "mini"


@dataclass(frozen=True)
class Command:
    """``data``: folder of the tars; ``setting``: a name of `SETTINGS`; ``folder``: of the pipeline."""

    data: Path
    setting: str
    folder: Path
    precision: str
    loop: Loop


def read_command() -> Command:
    """From `sys.argv`, for the GPU where there is one. What stands under build/mini is gone on with."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    flags = ArgumentParser()
    flags.add_argument("data", type=Path)
    flags.add_argument("--setting", choices=SETTINGS, default="gpu" if device == "cuda" else "cpu")
    flags.add_argument("--minutes", type=float, default=math.inf)
    flags.add_argument("--folder", type=Path, default=HERE / "weights")
    given = flags.parse_args()
    precision = choose_training_precision("auto", device).value
    ends_at = time.monotonic() + 60 * given.minutes
    loop = Loop(WORK / given.setting, device, precision == "bf16", ends_at, SEED, compiles=True)
    return Command(given.data, given.setting, given.folder, precision, loop)
