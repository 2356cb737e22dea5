"""NPOS: virtual outliers beyond the features that lie farthest from their neighbours.

Tao et al., "Non-parametric outlier synthesis" (ICLR 2023, arXiv 2303.02966), section 3 with R_open of Eq. 6, on the losses of
CIDER (Ming et al., ICLR 2023, arXiv 2203.04450, section 3). With z the projected unit feature, μ_c a class's prototype and τ the temperature, a
step minimises compactness + 0.5 * dispersion + oe_weight * BCE:

compactness = mean_i -log softmax_c(z_i . μ_c / τ)_{y_i};  dispersion = mean_i log mean_{j != i} e^{μ_i . μ_j / τ};
BCE = the binary cross-entropy of an MLP on unit features that tells ID (1) from virtual outliers (0), over both together.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dogfast.config.option import require
from dogfast.data.augment import Draws, two_views
from dogfast.numerics.neighbours import kth_distances
from dogfast.seeds import stream
from dogfast.training.batches import Batch, Batches
from dogfast.training.learner import Learner
from dogfast.training.linear_head import fit_head
from dogfast.training.objective import Objective, Task
from dogfast.training.objectives.supcon import PROJECTED, projection, views_of
from dogfast.training.queues import ClassQueue, turns

DISPERSION = 0.5
KEEP = 0.5
"""Part of a prototype that one further feature leaves."""
KEPT = 2
"""Draws around a boundary feature that become outliers."""
NEIGHBOUR_SHARE, BOUNDARY_SHARE = 0.3, 0.2
"""Of a queue: the farthest neighbour that is looked at, and what may count as boundary (the release's 300 and 200 of 1000)."""


def moved(prototypes: Tensor, points: Tensor, labels: Tensor) -> Tensor:
    """μ_c <- normalised (0.5 μ_c + 0.5 z_i) for one unit point (n, p) of c after the other: (C, p), differentiable in them."""
    turn = turns(labels)
    for now in range(int(turn.max()) + 1):
        mine = F.one_hot(labels, len(prototypes)).T * (turn == now)
        further = F.normalize(KEEP * prototypes + (1 - KEEP) * mine.to(points.dtype) @ points, dim=1)
        prototypes = torch.where(mine.any(1, keepdim=True), further, prototypes)
    return prototypes


def compactness(points: Tensor, prototypes: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """mean_i -log softmax_c(z_i . μ_c / τ)_{y_i}, a scalar, of unit points (n, p) and prototypes (C, p)."""
    return F.cross_entropy(points @ prototypes.T / temperature, labels)


def dispersion(prototypes: Tensor, temperature: float) -> Tensor:
    """mean_i log[1/(C-1) sum_{j != i} e^{μ_i . μ_j / τ}], a scalar, of prototypes (C, p) of two classes or more."""
    itself = torch.eye(len(prototypes), dtype=torch.bool, device=prototypes.device)
    likeness = (prototypes @ prototypes.T / temperature).masked_fill(itself, -torch.inf)
    return likeness.logsumexp(1).mean() - math.log(len(prototypes) - 1)


def virtual_outliers(known: Tensor, neighbour: int, boundary: int, noises: Tensor) -> Tensor:
    """Unit vectors beyond the edge of a class's unit features ``known`` (Q, d): (2 * boundary, d).

    The ``boundary`` features whose ``neighbour``-th other feature is farthest are moved by all of ``noises`` (m, d); of each
    one's draws the 2 with the farthest ``neighbour``-th feature are kept. Draws are brought back to unit length: else their
    length alone would give them away.
    """
    edge = known[kth_distances(known, known, neighbour + 1).topk(boundary).indices]
    draws = F.normalize(edge[:, None] + noises, dim=2)
    distances = kth_distances(draws.flatten(0, 1), known, neighbour).view(boundary, len(noises))
    return draws.take_along_dim(distances.topk(KEPT, dim=1).indices[:, :, None], 1).flatten(0, 1)


class Npos(Objective):
    """CIDER for `virtual_start` of the epochs, and until every queue is full; then virtual outliers too.

    The queues hold the latest unit features of the training, whatever the epoch. Neighbours are looked for within a class, and
    `npos_boundary` is shared out over the classes, as the release does; of short queues at most the same share is taken:
    the neighbour is no farther than the 0.3 Q-th, and at most 0.2 Q of a queue of Q are boundary. The same noises serve all
    boundary features of a step. A prototype begins as its class's first point.
    """

    reads = ("virtual_start", "virtual_queue", "npos_", "contrast_temperature")
    prototypes: Tensor

    def __init__(self, task: Task):
        super().__init__(task)
        require(task.classes > 1, "--objective npos keeps classes apart; it needs two of them")
        methods, width = task.methods, task.width
        self.seed, self.temperature = task.seed, methods.contrast_temperature
        self.first_epoch = round(methods.virtual_start * task.regime.epochs)
        self.neighbour = max(min(methods.npos_neighbour, int(NEIGHBOUR_SHARE * methods.virtual_queue)), 1)
        share = math.ceil(methods.npos_boundary / task.classes)
        self.boundary = max(min(share, int(BOUNDARY_SHARE * methods.virtual_queue)), 1)
        self.projection = projection(width)
        self.judge = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
        self.queue = ClassQueue(task.classes, methods.virtual_queue, width)
        self.register_buffer("prototypes", torch.zeros(task.classes, PROJECTED))

    def augment(self, images: Tensor, draws: Draws) -> Tensor:
        return two_views(images, draws)

    def begin(self, learner: Learner, batches: Batches) -> None:
        self.queue.expect(batches.labels, 2 * max(self.first_epoch, 1))

    def forward(self, learner: Learner, batch: Batch) -> dict[str, Tensor]:
        """Features of all processes are looked at together, so that several draw and learn what one would."""
        views, labels = views_of(batch)
        features, labels = learner.ranks.gather(learner.features(views)), learner.ranks.gather(labels)
        known = F.normalize(features, dim=1)
        self.queue.push(known.detach(), labels)
        losses = self._cider(F.normalize(self.projection(features), dim=1), labels)
        loss = losses["compactness"] + DISPERSION * losses["dispersion"]
        if learner.epoch >= self.first_epoch:
            losses["virtual"] = self._virtual_loss(learner, known)
            loss = loss + self.regime.oe_weight * losses["virtual"]
        learner.backward(loss)
        learner.step()
        return {name: value.detach() for name, value in losses.items()}

    def finish(self, learner: Learner, batches: Batches) -> None:
        fit_head(learner, batches)

    def _cider(self, points: Tensor, labels: Tensor) -> dict[str, Tensor]:
        prototypes = moved(self.prototypes, points, labels)
        fixed = prototypes.detach()
        self.prototypes.copy_(torch.where(fixed.isfinite().all(), fixed, self.prototypes))
        return {
            "compactness": compactness(points, fixed, labels, self.temperature),
            "dispersion": dispersion(prototypes, self.temperature),
        }

    def _virtual_loss(self, learner: Learner, known: Tensor) -> Tensor:
        """The judge's loss on the step's unit features and virtual outliers; 0 until the queues are full."""
        judged = self.judge(torch.cat([known, self._outliers(learner)]))[:, 0]
        is_id = torch.arange(len(judged), device=judged.device) < len(known)
        return torch.where(self.queue.full, F.binary_cross_entropy_with_logits(judged, is_id.to(judged.dtype)), 0.0)

    @torch.no_grad()
    def _outliers(self, learner: Learner) -> Tensor:
        queues = self.queue.features
        generator = stream(self.seed, "virtual", learner.at, learner.part)
        noises = torch.randn(self.methods.npos_draws, queues.shape[2], generator=generator).to(queues)
        noises *= self.methods.npos_sigma
        return torch.cat([virtual_outliers(known, self.neighbour, self.boundary, noises) for known in queues])
