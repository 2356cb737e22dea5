"""Evaluations made up of a few scores: what `evaluate` leaves, without a classifier."""

import numpy as np
import pytest
import torch

from dogfast.detection.table import save_scores
from dogfast.numerics.metrics import auroc, fpr95
from dogfast.reporting.inputs import read_evaluations
from dogfast.run import Run, publish, to_json

N_ID, N_OOD = 200, {"held-out-shapes": 80, "glyphs": 60}
SCORES = ("msp", "energy", "ash-s")


def write_evaluation(run: Run, name: str, apart: float, scores=SCORES, accuracy=0.9, n_ood=N_OOD, seed=0) -> None:
    """``apart``: how far ID images score above OOD ones, in standard deviations."""
    rng = np.random.default_rng(seed)
    tensors, rows = {}, []
    for score in scores:
        known = rng.normal(apart, 1, N_ID)
        tensors[score] = {"id": known} | {dataset: rng.normal(0, 1, n) for dataset, n in n_ood.items()}
        for dataset in n_ood:
            pair = known.astype(np.float32), tensors[score][dataset].astype(np.float32)
            measured = {"fpr95": fpr95(*pair), "auroc": auroc(*pair), "n_id": N_ID, "n_ood": n_ood[dataset]}
            group = "near" if dataset == "held-out-shapes" else "far"
            rows.append({"score": score, "dataset": dataset, "group": group} | measured)
    save_scores(run.evaluation(name), {s: {k: torch.from_numpy(v) for k, v in found.items()} for s, found in tensors.items()})
    publish(run.evaluation(name) / "metrics.json", to_json({"name": name, "id_accuracy": accuracy, "rows": rows}))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """Write the evaluation of a classifier in a seed, and give it as the report reads it."""

    def make(name: str, apart: float, seed: int = 0, **fields):
        run = Run(tmp_path_factory.mktemp("made-up"))
        write_evaluation(run, name, apart, seed=seed, **fields)
        return read_evaluations(run)[0]

    return make
