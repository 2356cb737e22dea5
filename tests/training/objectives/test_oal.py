"""OAL: its losses against scalar loops in float64, what each of them reaches, and the teacher and h that stay as they are."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from dogfast.config import TrainingConfig
from dogfast.errors import UsageError
from dogfast.training.batches import Batch, Batches
from dogfast.training.objectives.oal import divergence, info_nce
from dogfast.training.objectives.oe import oe_loss
from tests.training.steps import (
    assert_moved_by,
    held_for,
    learner_of,
    objective_of,
    parameters,
    plain_model,
    small_model,
    some_batch,
)

KD, CONTRAST, OE = 3.0, 0.7, 0.2


@pytest.fixture
def batch():
    """`some_batch` with latents for its outliers."""
    plain = some_batch()
    latents = torch.randn(5, 4, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return Batch(plain.id_images, plain.id_labels, latents)


@pytest.fixture
def model():
    return small_model()


def oal_of(model, **fields):
    """The objective, with an h that says something."""
    found = objective_of("oal", model, {"oe_weight": OE}, **({"oal_kd": KD, "oal_contrast": CONTRAST} | fields))
    found.h.mean.fill_(0.5)
    found.h.scale.fill_(1.0)
    return found


def far_from(model):
    """A student that has left ``model``."""
    student = copy.deepcopy(model)
    with torch.no_grad():
        for p in student.parameters():
            p.add_(0.1 * torch.randn(p.shape, dtype=p.dtype, generator=torch.Generator().manual_seed(5)))
    return student


# --- losses against scalar loops --------------------------------------------------------------------------------
def softmax(row):
    return [math.exp(f) / sum(math.exp(other) for other in row) for f in row]


def test_divergence_is_from_the_teacher_to_the_student():
    taught, logits = 2 * torch.randn(2, 7, 5, dtype=torch.float64)
    total = 0.0
    for t, p in zip(map(softmax, taught.tolist()), map(softmax, logits.tolist())):
        total += sum(a * math.log(a / b) for a, b in zip(t, p))
    assert float(divergence(taught, logits)) == pytest.approx(total / 7, rel=1e-12)
    assert float(divergence(logits, taught)) != pytest.approx(total / 7, rel=1e-3)
    assert float(divergence(logits, logits)) == pytest.approx(0, abs=1e-12)


def test_info_nce_against_a_scalar_loop():
    features, outliers = torch.randn(6, 5, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    labels, temperature = [0, 1, 0, 2, 1, 0], 0.3
    cosine = lambda a, b: sum(x * y for x, y in zip(a, b)) / math.hypot(*a) / math.hypot(*b)  # noqa: E731
    z, v, rows = features.tolist(), outliers.tolist(), []
    for i, label in enumerate(labels):
        against = sum(math.exp(cosine(z[i], other) / temperature) for other in v)
        kin = [math.exp(cosine(z[i], z[p]) / temperature) for p in range(6) if p != i and labels[p] == label]
        if kin:
            rows.append(sum(-math.log(near / (near + against)) for near in kin) / len(kin))
    assert len(rows) == 5, "the class of one image has no pair"
    assert float(info_nce(features, torch.tensor(labels), outliers, temperature)) == pytest.approx(sum(rows) / 5, rel=1e-12)


def test_info_nce_of_classes_without_pairs_is_nothing():
    features = torch.randn(3, 5, requires_grad=True)
    loss = info_nce(features, torch.arange(3), torch.randn(4, 5), 0.1)
    loss.backward()
    assert float(loss.detach()) == 0 and float(features.grad.abs().max()) == 0


def test_info_nce_falls_where_outliers_are_left_and_kin_are_found():
    kin, other = torch.tensor([[1.0, 0.1], [1.0, -0.1]]), torch.tensor([[0.0, 1.0]])
    labels = torch.zeros(2, dtype=torch.int64)
    close = info_nce(kin, labels, kin[:1], 0.1)
    assert info_nce(kin, labels, other, 0.1) < 0.01 < close


# --- the step ---------------------------------------------------------------------------------------------------
def test_the_step_is_the_gradient_of_the_stated_sum(model, batch):
    student = far_from(model)
    oal = oal_of(model)
    before, twin = parameters(student), copy.deepcopy(student)
    strange, taught = oal.h(batch.outliers).detach(), copy.deepcopy(model).eval()(batch.id_images).detach()
    features = twin.features(batch.id_images)
    logits = twin.head(features)
    parts = {
        "ce": F.cross_entropy(logits, batch.id_labels),
        "kd": divergence(taught, logits),
        "contrast": info_nce(features, batch.id_labels, strange, 0.1),
        "oe": oe_loss(twin.head(strange)),
    }
    whole = parts["ce"] + KD * parts["kd"] + CONTRAST * parts["contrast"] + OE * parts["oe"]
    names, values = zip(*twin.named_parameters())
    expected = dict(zip(names, torch.autograd.grad(whole, values)))
    losses = oal(learner_of(student, objective=oal), batch)
    assert {name: float(loss) for name, loss in losses.items()} == pytest.approx({n: p.item() for n, p in parts.items()})
    assert not any(loss.requires_grad for loss in losses.values())
    assert_moved_by(before, parameters(student), expected)


def test_the_teacher_is_the_start_in_evaluation_mode_and_neither_it_nor_h_is_learned(model, batch):
    oal = oal_of(model)
    assert oal.learned() == [] and oal.optimizers() == {} and not oal.teacher.training
    frozen = {name: tensor.clone() for name, tensor in oal.state_dict().items()}
    assert any(name.startswith("teacher.") for name in frozen) and any(name.startswith("h.") for name in frozen)
    learner = learner_of(model, objective=oal)
    for _ in range(2):
        oal(learner, batch)
    assert all(torch.equal(frozen[name], tensor) for name, tensor in oal.state_dict().items())
    assert not torch.equal(model.head.weight, oal.teacher.head.weight)


def test_a_student_that_is_its_teacher_diverges_by_batch_statistics_alone(batch):
    model = plain_model().double()
    losses = oal_of(model)(learner_of(model), batch)
    assert float(losses["kd"]) == pytest.approx(0, abs=1e-12)


def test_outliers_teach_the_head_alone_and_contrast_the_features_alone(model, batch):
    """Outlier features are constants: what is learned of them by L_OE cannot move a convolution."""
    learner = learner_of(model, lr=0.0)
    strange = oal_of(model).h(batch.outliers).detach()
    names, values = zip(*model.named_parameters())
    reached = {}
    for loss in (
        oe_loss(learner.head(strange)),
        info_nce(learner.features(batch.id_images), batch.id_labels, strange, 0.1),
    ):
        found = torch.autograd.grad(loss, values, allow_unused=True)
        reached[len(reached)] = {name for name, gradient in zip(names, found) if gradient is not None}
    assert reached[0] == {"head.weight", "head.bias"} and reached[1] == set(names) - reached[0]


@pytest.mark.parametrize("mi", ["infonce", "club"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_losses_are_single_precision_and_finite(mi, precision, batch):
    model = small_model().float()
    oal = oal_of(model, oal_mi=mi)
    single = Batch(batch.id_images.float(), batch.id_labels, batch.outliers.float())
    learner = learner_of(model, objective=oal, precision=precision)
    losses = oal(learner, single)
    assert losses.keys() == {"ce", "kd", "contrast", "oe"} and learner.finite == 1
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())


def test_club_has_an_optimizer_of_its_own_which_alone_moves_q(batch):
    model = small_model().float()
    oal = oal_of(model, oal_mi="club")
    assert oal.learned() == [] and set(oal.optimizers()) == {"q"}
    single = Batch(batch.id_images.float(), batch.id_labels, batch.outliers.float())
    before, at_start = parameters(oal.club), parameters(model)
    oal(learner_of(model, lr=0.0, objective=oal), single)
    assert all(not torch.equal(before[name], p) for name, p in parameters(oal.club).items())
    assert all(torch.equal(at_start[name], p) for name, p in parameters(model).items()), "the likelihood step is q's alone"


# --- before the first step --------------------------------------------------------------------------------------
def test_h_is_fitted_on_the_starting_classifiers_features_of_the_real_id_images():
    model = plain_model()
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 3, 8, 8), dtype=torch.uint8, generator=generator)
    painted = torch.zeros(10, 3, 8, 8, dtype=torch.uint8)
    oal, seen = objective_of("oal", model), []
    oal.h.fit = lambda latents, features, seed: seen.append((latents, features))
    held = held_for("oal", images, images)
    batches = Batches(torch.cat([images, painted]), torch.arange(50) % 4, held, oal.regime, oal, 0, torch.device("cpu"))
    oal.begin(learner_of(model, objective=oal), batches)
    ((latents, features),) = seen
    assert torch.equal(latents, held.id_latents) and len(features) == 40
    torch.testing.assert_close(features, model.features(images.float() / 255))
    assert not features.requires_grad


def test_without_a_start_there_is_no_teacher():
    with pytest.raises(UsageError, match=r"--objective oal .*--start"):
        TrainingConfig(objective="oal", start="scratch")
