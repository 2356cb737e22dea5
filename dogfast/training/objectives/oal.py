"""OAL: outliers that were painted but never decoded, met as features.

Gao et al., "Enhancing OOD detection using latent diffusion" (ICMR 2025, arXiv 2406.16525).

CE + λ_kd KL(teacher || student) + λ_c InfoNCE + λ_o L_OE, where the teacher is the starting classifier, and outlier features
are h(u) of painted latents u (:mod:`dogfast.training.latent_features`), in the place where the student's own lie at its
start. They are constants: L_OE reaches the head alone, InfoNCE the features of ID images alone. The divergence keeps the
student near its teacher, and so near the features that h knows.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from dogfast.classifiers.evidence import images_together
from dogfast.training.batches import Batch, Batches
from dogfast.training.club import Club
from dogfast.training.latent_features import LatentFeatures
from dogfast.training.learner import Learner
from dogfast.training.objective import Objective, Task
from dogfast.training.objectives.oe import oe_loss


def divergence(taught: Tensor, logits: Tensor) -> Tensor:
    """mean_i Σ_k t_ik (log t_ik - log p_ik) of the teacher's logits and the student's, (n, C) each, at temperature 1."""
    return F.kl_div(logits.log_softmax(1), taught.log_softmax(1), reduction="batchmean", log_target=True)


def info_nce(features: Tensor, labels: Tensor, outliers: Tensor, temperature: float) -> Tensor:
    """mean_i mean_p -log(e^{z_i·z_p/τ} / (e^{z_i·z_p/τ} + Σ_j e^{z_i·v_j/τ})), a scalar; z and v are scaled to length 1.

    ``features`` (n, d) with ``labels`` (n,), ``outliers`` (m, d). p runs over the other rows with the label of i, and i over
    the rows that have such; 0 where none has.
    """
    known, strange = F.normalize(features), F.normalize(outliers)
    near = known @ known.T / temperature
    far = (known @ strange.T / temperature).logsumexp(1, keepdim=True)
    kin = (labels[:, None] == labels).fill_diagonal_(False)
    cost = (F.softplus(far - near) * kin).sum(1) / kin.sum(1).clamp(min=1)
    return cost.sum() / kin.any(1).sum().clamp(min=1)


class Oal(Objective):
    """CE + 4 KL + 0.1 InfoNCE + 0.1 L_OE, or other weights; `oal_mi` "club" takes :mod:`~dogfast.training.club` for InfoNCE.

    Rows of all processes are contrasted with each other; of a step that is computed in parts, those of a part. Where ID images
    were painted (`id_synthetic`), h is fitted on the real ones, which alone have latents.
    """

    brings = "latents"
    reads = ("oal_",)

    def __init__(self, task: Task):
        super().__init__(task)
        self.seed, self.together = task.seed, images_together(task.image_px)
        self.teacher = copy.deepcopy(task.model).eval()
        self.h = LatentFeatures(task.latent_shape, task.width)
        self.club = Club(task.width) if task.methods.oal_mi == "club" else None
        self.weights = {
            "ce": 1.0,
            "kd": task.methods.oal_kd,
            "contrast": task.methods.oal_contrast,
            "oe": task.regime.oe_weight,
        }

    def learned(self) -> list[nn.Parameter]:
        return []

    def optimizers(self) -> dict[str, Optimizer]:
        return {} if self.club is None else {"q": self.club.optimizer}

    def figures(self) -> dict[str, float]:
        return {"latent_r2": float(self.h.r2)}

    def begin(self, learner: Learner, batches: Batches) -> None:
        pairs = [(latents, self._seen(learner, images)) for images, latents in batches.latent_chunks(self.together)]
        latents, features = map(torch.cat, zip(*pairs))
        self.h.fit(latents, features, self.seed)

    def forward(self, learner: Learner, batch: Batch) -> dict[str, Tensor]:
        features = learner.features(batch.id_images)
        logits = learner.head(features)
        with torch.no_grad():
            taught = self.teacher.head(self._seen(learner, batch.id_images))
            strange = self.h(batch.outliers)
        losses = {
            "ce": F.cross_entropy(logits, batch.id_labels),
            "kd": divergence(taught, logits),
            "contrast": self._contrast(learner, features, batch.id_labels, strange),
            "oe": oe_loss(learner.head(strange)),
        }
        learner.backward(torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum())
        learner.step()
        return {name: loss.detach() for name, loss in losses.items()}

    @torch.no_grad()
    def _seen(self, learner: Learner, images: Tensor) -> Tensor:
        """The teacher's features (n, d), at least fp32."""
        with learner.autocast():
            return self.teacher.features(images).to(self.h.mean.dtype)

    def _contrast(self, learner: Learner, features: Tensor, labels: Tensor, strange: Tensor) -> Tensor:
        features, labels, strange = map(learner.ranks.gather, (features, labels, strange))
        if self.club is None:
            return info_nce(features, labels, strange, self.methods.oal_temperature)
        pairs = min(len(features), len(strange))
        self.club.learn(features[:pairs], strange[:pairs])
        return self.club.bound(features[:pairs], strange[:pairs])
