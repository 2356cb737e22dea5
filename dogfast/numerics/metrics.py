"""How well one score tells ID from OOD. Larger score = more ID, everywhere.

Two conventions of FPR95 are in use and give different numbers; both are here under their own names. Scores become
ranks over ID and OOD together before scikit-learn sees them: order and ties stay, magnitudes (infinite ones too) go.
Scores are compared in float64, which holds every fp32, fp16 and bf16 value exactly.
"""

import numpy as np
import torch

from dogfast.errors import DataError

Scores = np.ndarray | torch.Tensor
RECALL = 0.95


def detection_metrics(id_scores: Scores, ood_scores: Scores, *, id_name: str = "ID", ood_name: str = "OOD") -> dict:
    """All measures of one score on one pair of sets: ``id_scores`` (n_id,), ``ood_scores`` (n_ood,).

    Returns ``fpr95, fpr95_ood, auroc, aupr_in, aupr_out`` as fractions in [0, 1], ``n_id`` and ``n_ood``, and
    ``threshold``, the smallest score accepted at 95 % ID recall. Raises :class:`DataError` naming ``id_name`` or
    ``ood_name`` when that set is empty or has NaN among its scores.
    """
    id_scores, ood_scores = checked_scores(id_scores, id_name), checked_scores(ood_scores, ood_name)
    return {
        "fpr95": fpr95(id_scores, ood_scores),
        "fpr95_ood": fpr95_ood(id_scores, ood_scores),
        "auroc": auroc(id_scores, ood_scores),
        "aupr_in": aupr_in(id_scores, ood_scores),
        "aupr_out": aupr_out(id_scores, ood_scores),
        "n_id": len(id_scores),
        "n_ood": len(ood_scores),
        "threshold": threshold_at_recall(id_scores),
    }


# --- at a threshold ---------------------------------------------------------------------------------------------
def threshold_at_recall(id_scores: Scores, recall: float = RECALL) -> float:
    """The largest τ with (share of ``id_scores`` (n,) that is ≥ τ) ≥ ``recall``, for ``recall`` in (0, 1].

    It is one of the scores, so it may be infinite. Raises :class:`DataError` on an empty set and on NaN.
    """
    ordered = np.sort(checked_scores(id_scores, "ID"))
    return float(ordered[len(ordered) - accepted_at_recall(len(ordered), recall)])


def accepted_at_recall(n_id: int, recall: float = RECALL) -> int:
    """The fewest of ``n_id`` images whose share is at least ``recall``, for ``recall`` in (0, 1]; the threshold is that many-th largest score."""
    assert 0 < recall <= 1, recall
    return int(np.searchsorted(np.arange(1, n_id + 1) / n_id, recall)) + 1


def refused_share(scores: Scores, threshold: float, name: str) -> float:
    """Share of ``scores`` (n,) below ``threshold``. Raises :class:`DataError` naming the set when it is empty or has NaN."""
    return float(np.mean(checked_scores(scores, name) < threshold))


def fpr95(id_scores: Scores, ood_scores: Scores) -> float:
    """Share of OOD accepted (S ≥ τ) when at least 95 % of ID is: ID is positive, as in the papers of this line."""
    return float(np.mean(checked_scores(ood_scores, "OOD") >= threshold_at_recall(id_scores)))


def fpr95_ood(id_scores: Scores, ood_scores: Scores) -> float:
    """Share of ID flagged (−S ≥ τ′) when at least 95 % of OOD is: OOD is positive, as in OpenOOD."""
    return fpr95(-checked_scores(ood_scores, "OOD"), -checked_scores(id_scores, "ID"))


# --- over all thresholds ----------------------------------------------------------------------------------------
def auroc(id_scores: Scores, ood_scores: Scores) -> float:
    """P(S_ID > S_OOD) + ½·P(S_ID = S_OOD); the same whichever side is called positive."""
    from sklearn.metrics import roc_auc_score

    ranks, is_id = joint_ranks(id_scores, ood_scores)
    return float(roc_auc_score(is_id, ranks))


def aupr_in(id_scores: Scores, ood_scores: Scores) -> float:
    """Average precision Σ (R_i − R_{i−1})·P_i with ID positive; chance level is the share of ID."""
    from sklearn.metrics import average_precision_score

    ranks, is_id = joint_ranks(id_scores, ood_scores)
    return float(average_precision_score(is_id, ranks))


def aupr_out(id_scores: Scores, ood_scores: Scores) -> float:
    """Average precision with OOD positive and −S its score; chance level is the share of OOD."""
    from sklearn.metrics import average_precision_score

    ranks, is_id = joint_ranks(id_scores, ood_scores)
    return float(average_precision_score(~is_id, -ranks))


# --- what comes in ----------------------------------------------------------------------------------------------
def checked_scores(scores: Scores, name: str) -> np.ndarray:
    """``scores`` (n,) as float64 on the host; :class:`DataError` naming the set when it is empty or has NaN."""
    if isinstance(scores, torch.Tensor):
        scores = scores.detach().to("cpu", torch.float64).numpy()
    scores = np.asarray(scores, dtype=np.float64)
    assert scores.ndim == 1, scores.shape
    if not len(scores):
        raise DataError(f"{name}: there are no scores; the data set needs at least one image")
    not_numbers = int(np.isnan(scores).sum())
    if not_numbers:
        raise DataError(f"{name}: {not_numbers} of {len(scores)} scores are NaN; check the classifier's weights and the images")
    return scores


def joint_ranks(id_scores: Scores, ood_scores: Scores) -> tuple[np.ndarray, np.ndarray]:
    """Dense ranks of ID and OOD together, (n_id + n_ood,), equal where scores are equal; and which of them are ID."""
    from scipy.stats import rankdata

    id_scores, ood_scores = checked_scores(id_scores, "ID"), checked_scores(ood_scores, "OOD")
    ranks = rankdata(np.concatenate([id_scores, ood_scores]), method="dense")
    return ranks, np.arange(len(ranks)) < len(id_scores)
