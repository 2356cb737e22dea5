"""NPOS: CIDER's losses and prototypes, the boundary and its outliers, each from its formula."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from dogfast.errors import UsageError
from dogfast.seeds import stream
from dogfast.training.batches import Batch
from dogfast.training.objectives.npos import compactness, dispersion, moved, virtual_outliers
from tests.training.steps import assert_moved_by, learner_of, objective_of, parameters, plain_model, small_model

FEW = {"virtual_queue": 10, "npos_draws": 12, "npos_boundary": 4}


def unit_rows(n, width=5, seed=2):
    return F.normalize(torch.randn(n, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)), dim=1)


def pairs(dtype=torch.float64):
    views = torch.rand(4, 2, 3, 8, 8, dtype=dtype, generator=torch.Generator().manual_seed(1))
    return Batch(views, torch.arange(4))


def filled(model, **methods):
    """An NPOS with ten features of every class, from the first epoch on."""
    objective = objective_of("npos", model, virtual_start=0.0, **FEW | methods)
    features = F.normalize(torch.rand(40, model.head.in_features, generator=torch.Generator().manual_seed(4)), dim=1)
    objective.queue.push(features, torch.arange(40) % 4)
    return objective


def test_prototypes_against_one_update_after_the_other():
    points, labels = unit_rows(7), [0, 1, 0, 0, 2, 1, 0]
    start = torch.cat([unit_rows(2, seed=3), torch.zeros(2, 5, dtype=torch.float64)])
    expected = start.tolist()
    for row, c in zip(points.tolist(), labels):
        mixed = [0.5 * a + 0.5 * b for a, b in zip(expected[c], row)]
        expected[c] = [a / math.sqrt(sum(b * b for b in mixed)) for a in mixed]
    found = moved(start, points, torch.tensor(labels))
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found[2], points[4])  # it begins as its first point
    assert (found[3] == 0).all()


def test_compactness_and_dispersion_against_scalar_loops():
    points, prototypes, labels = unit_rows(6), unit_rows(3, seed=5), [0, 2, 1, 1, 0, 2]
    likeness = [[sum(a * b for a, b in zip(z, p)) / 0.1 for p in prototypes.tolist()] for z in points.tolist()]
    near = sum(-(row[c] - math.log(sum(math.exp(f) for f in row))) for row, c in zip(likeness, labels)) / 6
    among = [[sum(a * b for a, b in zip(p, q)) / 0.1 for q in prototypes.tolist()] for p in prototypes.tolist()]
    apart = sum(math.log(sum(math.exp(among[i][j]) for j in range(3) if j != i) / 2) for i in range(3)) / 3
    assert float(compactness(points, prototypes, torch.tensor(labels), 0.1)) == pytest.approx(near, rel=1e-12)
    assert float(dispersion(prototypes, 0.1)) == pytest.approx(apart, rel=1e-12)


def test_outliers_against_a_scalar_search():
    known, noises = unit_rows(9), 0.3 * unit_rows(6, seed=7)

    def reach(point, others, k):
        return sorted(math.dist(point, other) for other in others)[k - 1]

    rows = known.tolist()
    reaches = [reach(row, rows[:i] + rows[i + 1 :], 3) for i, row in enumerate(rows)]
    edge = sorted(range(9), key=lambda i: -reaches[i])[:2]
    expected = []
    for i in edge:
        draws = [F.normalize(known[i] + noise, dim=0).tolist() for noise in noises]
        expected += sorted(draws, key=lambda draw: -reach(draw, rows, 3))[:2]
    found = virtual_outliers(known, 3, 2, noises)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(
    "queue, neighbour, boundary, taken",
    [(1000, 300, 200, (300, 50)), (100, 300, 200, (30, 20)), (2, 300, 200, (1, 1)), (100, 5, 9, (5, 3))],
)
def test_short_queues_have_nearer_neighbours_and_a_smaller_boundary(queue, neighbour, boundary, taken):
    objective = objective_of("npos", plain_model(), virtual_queue=queue, npos_neighbour=neighbour, npos_boundary=boundary)
    assert (objective.neighbour, objective.boundary) == taken


def test_one_class_is_refused():
    with pytest.raises(UsageError, match=r"--objective npos .* two"):
        objective_of("npos", plain_model(1))


def test_the_smallest_queue_still_gives_outliers():
    model = plain_model()
    objective = filled(model, virtual_queue=2, npos_draws=2)
    losses = objective(learner_of(model, objective=objective), pairs(torch.float32))
    assert losses["virtual"] > 0 and all(loss.isfinite() for loss in losses.values())


def test_the_step_is_the_gradient_of_the_stated_sum():
    model, batch = small_model(), pairs()
    objective = filled(model)
    twin, other = copy.deepcopy(model), copy.deepcopy(objective)
    before = parameters(model) | parameters(objective)
    losses = objective(learner_of(model, objective=objective), batch)

    labels = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    features = twin.features(batch.id_images.flatten(0, 1))
    known, points = F.normalize(features, dim=1), F.normalize(other.projection(features), dim=1)
    other.queue.push(known.detach(), labels)
    noises = 0.1 * torch.randn(12, 64, generator=stream(0, "virtual", 0, 0)).double()
    outliers = torch.cat([virtual_outliers(rows, 3, 1, noises) for rows in other.queue.rows])
    prototypes = moved(other.prototypes, points, labels)
    near, apart = compactness(points, prototypes.detach(), labels, 0.1), dispersion(prototypes, 0.1)
    judged = [other.judge(rows)[:, 0].sigmoid() for rows in (known, outliers)]
    bce = -(judged[0].log().sum() + (1 - judged[1]).log().sum()) / 16
    (near + 0.5 * apart + 0.1 * bce).backward()
    assert len(outliers) == 8
    for name, value in {"compactness": near, "dispersion": apart, "virtual": bce}.items():
        assert float(losses[name]) == pytest.approx(value.item())
    zero = {name: torch.zeros_like(p) for name, p in model.head.named_parameters(prefix="head")}
    grads = {name: p.grad for name, p in [*twin.named_parameters(), *other.named_parameters()] if p.grad is not None}
    assert_moved_by(before, parameters(model) | parameters(objective), zero | grads)
    torch.testing.assert_close(objective.prototypes, prototypes.detach())


def test_the_queue_is_never_emptied():
    """The released code zeroes its queue every epoch and keeps the count of what it held."""
    model = plain_model()
    objective = filled(model)
    before = objective.queue.rows.clone()
    learner = learner_of(model, lr=0.0, objective=objective)
    learner.epoch = 7
    objective.begin_epoch(learner, None)
    objective(learner, pairs(torch.float32))
    kept = (objective.queue.rows == before).all(2).sum(1)
    assert kept.tolist() == [8, 8, 8, 8]  # two views made room for themselves


def test_virtual_outliers_wait_for_their_epoch_and_for_full_queues():
    model = plain_model()
    objective = objective_of("npos", model, {"pretrain_epochs": 10}, **FEW)
    learner = learner_of(model, objective=objective)
    assert "virtual" not in objective(learner, pairs(torch.float32))
    learner.epoch = 4
    assert objective(learner, pairs(torch.float32))["virtual"] == 0
    for _ in range(3):
        found = objective(learner, pairs(torch.float32))
    assert found["virtual"] > 0 and learner.finite


def test_a_refused_step_leaves_queue_and_prototypes_as_they_were():
    model, batch = plain_model(), pairs(torch.float32)
    objective = filled(model)
    objective(learner_of(model, objective=objective), batch)
    rows, prototypes = objective.queue.rows.clone(), objective.prototypes.clone()
    batch.id_images[1] = torch.nan
    learner = learner_of(model, objective=objective)
    objective(learner, batch)
    assert not learner.finite and torch.equal(objective.queue.rows, rows) and torch.equal(objective.prototypes, prototypes)


def test_half_precision_losses_are_fp32_and_finite():
    model = plain_model()
    losses = filled(model)(learner_of(model, precision="bf16"), pairs(torch.float32))
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
