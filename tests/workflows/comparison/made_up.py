"""What `evaluate` leaves, made of a few drawn scores; read through `runpy`, for test modules are not importable by name."""

import numpy as np
import torch

from dogfast.detection.table import save_scores
from dogfast.numerics.metrics import auroc, fpr95
from dogfast.run import publish, to_json

N_ID, N_OOD = 200, {"held-out-shapes": 80, "glyphs": 60}
SCORES = ("msp", "energy", "ash-s")


def write_evaluation(run, name, apart, scores=SCORES, accuracy=0.9, n_ood=N_OOD, seed=0, called_ood=None):
    """``apart``: how far ID images score above OOD ones, in standard deviations; ``called_ood``: the share of painted ID images."""
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
    metrics = {"name": name, "id_accuracy": accuracy, "rows": rows, "seconds": 2.0}
    if called_ood is not None:
        metrics["artefact_control"] = [{"score": score, "called_ood": called_ood, "n": 50} for score in scores]
    publish(run.evaluation(name) / "metrics.json", to_json(metrics))
