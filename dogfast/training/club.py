"""CLUB, an upper bound of the mutual information of two features (Cheng et al., ICML 2020, arXiv 2006.12013).

I(x; y) <= E_p(x,y)[log q(y|x)] - E_p(x)p(y)[log q(y|x)], which holds where q(y|x) is p(y|x) (their Theorem 3.1), with
q(y|x) = N(μ(x), diag σ²(x)) in place of the unknown p.

Two pitfalls of using it against outliers:

- q must be fitted by likelihood, in steps of its own that the bound's gradient has no part in. Whoever minimises the bound
  over q too, as OAL's release does, has a number that is no bound of anything: q lowers it by getting worse.
- ID images and outliers are paired by chance. They are independent by construction, the information is 0 whatever the
  features are, and a well fitted q says so: the term is then a weak regulariser, no measure of what the two have in common.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Adam

from dogfast.training.optimizers import primed, step_unless_refused

HIDDEN, LR = 512, 1e-4
MOST_LOG_VARIANCE = 8.0


class Club(nn.Module):
    """q(y|x) of features x and y, both (n, ``width``), and the optimizer that fits it."""

    def __init__(self, width: int):
        super().__init__()
        self.centre, self.spread = (
            nn.Sequential(nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, width)) for _ in range(2)
        )

    @cached_property
    def optimizer(self) -> Adam:
        """Made when it is first asked for, on the device the networks lie on by then."""
        return primed(Adam(self.parameters(), LR, fused=True))

    def bound(self, x: Tensor, y: Tensor) -> Tensor:
        """mean_i [log q(y_i|x_i) - mean_j log q(y_j|x_i)], a scalar; row i of ``x`` (n, d) belongs to row i of ``y`` (n, d)."""
        centre, variance = self._gaussian(x)
        anyone = y.var(0, correction=0) + (y.mean(0) - centre).square()  # mean_j (y_j - μ_i)²
        return ((anyone - (y - centre).square()) / (2 * variance)).sum(1).mean()

    def likelihood(self, x: Tensor, y: Tensor) -> Tensor:
        """mean_i log q(y_i|x_i) less its constant, a scalar."""
        centre, variance = self._gaussian(x)
        return -((y - centre).square() / variance + variance.log()).sum(1).mean() / 2

    def learn(self, x: Tensor, y: Tensor) -> None:
        """One step of q towards a higher likelihood, which does not touch what made ``x``; refused where it is not finite."""
        self.optimizer.zero_grad()  # the bound's own gradient has reached q since the last step
        loss = -self.likelihood(x.detach(), y)
        loss.backward()
        norm = get_total_norm([p.grad for p in self.parameters()])
        step_unless_refused(self.optimizer, (loss.detach() + norm).isfinite())

    def _gaussian(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """μ and σ² (n, d)."""
        return self.centre(x), (MOST_LOG_VARIANCE * torch.tanh(self.spread(x) / MOST_LOG_VARIANCE)).exp()
