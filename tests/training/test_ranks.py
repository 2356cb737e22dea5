"""Processes that share every batch: two give what one gives, where no batch normalisation looks at its own rows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
CASES = [
    *((name, {}) for name in ("dog", "oe", "energy-oe", "doe", "poem")),
    ("atom", {"atom_epsilon": 0.0}),
    ("dog", {"wor_step": "alternate"}),
    *(("oal", {"oal_contrast": 1.0, "oal_mi": mi}) for mi in ("infonce", "club")),
    ("vos", {"virtual_queue": 10}),
    ("npos", {"virtual_queue": 10, "npos_draws": 20}),
    *((name, {}) for name in ("csi", "supcon")),
]
"""Objectives and what they are told beside their defaults."""
PROGRAM = """
import json, sys
import torch
from dogfast.classifiers.rejection import add_rejection
from dogfast.classifiers.rotations import RotationAveraged
from dogfast.config import ObjectivesConfig, TrainingConfig
from dogfast.events import Events
from dogfast.training.loop import Machine, fit
from dogfast.training.objectives import OBJECTIVES
from dogfast.training.ranks import join_ranks
from dogfast.training.regimes import regime_of
from tests.training.steps import held_for, plain_model

def learned(objective, fields):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (48, 3, 8, 8), dtype=torch.uint8, generator=generator)
    outliers = torch.randint(0, 256, (30, 3, 8, 8), dtype=torch.uint8, generator=generator)
    model, methods = plain_model(), ObjectivesConfig(**fields)
    model = RotationAveraged(model) if OBJECTIVES[objective].rotates else model
    config = TrainingConfig(objective=objective, batch=16, ood_batch=12, epochs=3, lr=0.05, pretrain_epochs=3, pretrain_lr=0.05)
    regime = regime_of(config, methods, "")
    if OBJECTIVES[objective].rejects:
        add_rejection(model)
    held = held_for(objective, images, outliers)
    report = fit(model, images, torch.arange(48) % 4, held, regime, config, methods, Events(), Machine(ranks=ranks))
    assert report["history"]
    return model.state_dict()

ranks = join_ranks()
for number, case in enumerate(json.loads(sys.argv[2])):
    torch.save(learned(*case), f"{sys.argv[1]}/{number}-{ranks.count}-{ranks.index}.pt")
"""


def run(place, processes):
    """Train every one of `CASES` in ``processes`` that share its batches; the weights are left in ``place``."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
    words = [str(place), json.dumps(CASES)]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "WORLD_SIZE": str(processes)}
    if processes > 1:
        common["MASTER_PORT"] = str(free_port())
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words],
            cwd=ROOT,
            env=environment | common | {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(processes)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    said = [process.communicate(timeout=600)[1] for process in started]
    assert not any(process.returncode for process in started), said[0] + said[-1]


def free_port():
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Where the weights of every case lie, trained by one process and by two."""
    place = tmp_path_factory.mktemp("ranks")
    for processes in (1, 2):
        run(place, processes)
    return place


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{objective}-{fields}" for objective, fields in CASES])
def test_two_processes_give_what_one_gives(trained, number):
    one, first, second = (torch.load(trained / f"{number}-{name}.pt", weights_only=True) for name in ("1-0", "2-0", "2-1"))
    for name in one:
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], one[name], rtol=1e-4, atol=1e-6)
