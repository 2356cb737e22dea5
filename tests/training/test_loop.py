"""The loop: schedule, cycling, seeds, steps that are skipped, and that it learns."""

import itertools
import math

import pytest
import torch

from dogfast.classifiers.wrn import WideResNet
from dogfast.config.training import TrainingConfig
from dogfast.errors import DataError, DogfastError, UsageError
from dogfast.events import Events
from dogfast.training.loop import Batches, cosine, cycle, fit, stream
from dogfast.training.objectives import OBJECTIVES
from dogfast.training.objectives.ce import CrossEntropy


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def colours(n, seed=0):
    """Noisy red (0) and blue (1) images, and green outliers: uint8 (n, 3, 8, 8), labels, uint8 (n // 2, 3, 8, 8)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    images = torch.randint(0, 120, (n, 3, 8, 8), generator=generator)
    images[torch.arange(n), labels * 2] += 100
    outliers = torch.randint(0, 120, (n // 2, 3, 8, 8), generator=generator)
    outliers[:, 1] += 100
    return images.to(torch.uint8), labels, outliers.to(torch.uint8)


def small(seed=0):
    torch.manual_seed(seed)
    return WideResNet(10, 1, classes=2, dropout=0.1)


def train(objective="ce", n=48, epochs=1, lr=0.05, model=None, sink=None, precision="fp32", data=None, **fields):
    model = model or small()
    images, labels, outliers = data or colours(n)
    config = TrainingConfig(**({"batch": 16, "ood_batch": 12} | fields))
    events = Events(*([sink] if sink else []))
    return model, fit(model, images, labels, outliers, config, objective, epochs, lr, "cpu", precision, events)


def same_weights(one, two):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values()))


# --- schedule and data ------------------------------------------------------------------------------------------
def test_the_cosine_starts_at_the_peak_and_ends_at_its_floor():
    rates = [cosine(step, 11, 0.1) for step in range(11)]
    assert rates[0] == 0.1 and rates[-1] == 1e-6
    assert rates[5] == pytest.approx((0.1 + 1e-6) / 2)
    assert rates == sorted(rates, reverse=True)
    assert cosine(0, 1, 0.1) == 0.1 and cosine(0, 5, 1e-7) == cosine(4, 5, 1e-7) == 1e-7


def test_the_last_step_of_a_fit_has_the_last_rate(monkeypatch):
    rates = []

    class Spy(CrossEntropy):
        def __call__(self, learner, batch):
            rates.append(learner.optimizer.param_groups[0]["lr"])
            return super().__call__(learner, batch)

    monkeypatch.setitem(OBJECTIVES, "ce", Spy)
    train(n=50, epochs=2)
    assert len(rates) == 6 and rates[0] == 0.05 and rates[-1] == 1e-6


@pytest.mark.parametrize("count, size", [(10, 4), (3, 8), (7, 7), (1, 5)])
def test_every_outlier_is_drawn_before_any_is_drawn_again(count, size):
    drawn = torch.cat(list(itertools.islice(cycle(count, size, stream(0, "x")), 3 * count)))
    rounds = drawn.split(count)
    assert len(drawn) == 3 * count * size
    assert all(sorted(r.tolist()) == list(range(count)) for r in rounds if len(r) == count)
    assert count < 3 or not torch.equal(rounds[0], rounds[1]) or not torch.equal(rounds[1], rounds[2])


def marked(n):
    """Images that carry their number in every pixel."""
    return torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 3, 8, 8).contiguous()


def numbers(images):
    return (images.amax((1, 2, 3)) * 255).round().long().tolist()


def test_an_epoch_shows_each_image_once_with_its_label():
    images, outliers = marked(40), marked(100) + 100
    batches = Batches(images, torch.arange(40), outliers, TrainingConfig(batch=16, ood_batch=30), "cpu")
    assert (batches.steps, batches.passes) == (2, 46)
    first, second = list(batches.epoch()), list(batches.epoch())
    seen = [number for batch in first for number in numbers(batch.id_images)]
    assert len(seen) == len(set(seen)) == 32
    assert all(numbers(batch.id_images) == batch.id_labels.tolist() for batch in first)
    assert seen != [number for batch in second for number in numbers(batch.id_images)]
    shown = [number for batch in first + second for number in numbers(batch.ood_images)]
    assert set(shown[:100]) == set(range(100, 200))


def test_a_set_smaller_than_a_batch_is_one_batch():
    batches = Batches(marked(5), torch.arange(5), marked(2), TrainingConfig(batch=16, ood_batch=6), "cpu")
    (batch,) = batches.epoch()
    assert len(batch.id_images) == 5 and len(batch.ood_images) == 6
    assert len(batch.joint) == 11 and [len(part) for part in batch.split(batch.joint)] == [5, 6]


def test_batches_are_unit_floats_in_channels_last():
    images, labels, outliers = colours(32)
    batch = next(Batches(images, labels, outliers, TrainingConfig(batch=16), "cpu").epoch())
    assert batch.id_images.dtype == torch.float32 and 0 <= batch.id_images.min() and 0.5 < batch.id_images.max() <= 1
    assert batch.joint.is_contiguous(memory_format=torch.channels_last)


# --- fit --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("objective", ["ce", "oe", "dog"])
def test_the_seed_decides_the_weights(objective):
    one, first = train(objective, train_seed=3)
    again = small()
    torch.manual_seed(99)  # the global generator does not matter
    two, second = train(objective, model=again, train_seed=3)
    other, _ = train(objective, train_seed=4)
    assert same_weights(one, two) and first["history"] == second["history"]
    assert not same_weights(one, other)


def test_the_global_generator_is_left_alone():
    model = small()
    before = torch.get_rng_state()
    train(model=model)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("fields", [{}, {"wor_step": "alternate", "wor_sign": "descend", "wor_warmup": 1}])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_learns_colours_and_is_unsure_of_another(fields, precision):
    model, report = train("dog", n=96, epochs=5, precision=precision, **fields)
    images, labels, outliers = colours(60, seed=1)
    with torch.no_grad():
        known, unknown = (model(x.float() / 255).softmax(1) for x in (images, outliers))
    assert (known.argmax(1) == labels).float().mean() > 0.95
    assert known.amax(1).mean() > unknown.amax(1).mean() + 0.1
    assert report["history"][-1]["ce"] < report["history"][0]["ce"] and report["skipped_steps"] == 0


def test_ce_learns_and_reports():
    model, report = train(n=96, epochs=4)
    images, labels, _ = colours(60, seed=1)
    assert (model(images.float() / 255).argmax(1) == labels).float().mean() > 0.95
    assert not model.training
    assert [row["epoch"] for row in report["history"]] == [0, 1, 2, 3] and report["history"][0].keys() == {"epoch", "ce"}
    assert report["seconds"] > 0
    assert report["img_per_s"] == pytest.approx(4 * 6 * 16 / report["seconds"])


def test_progress_counts_id_and_outlier_images():
    seen = []
    train("oe", n=50, epochs=2, sink=lambda event, fields: seen.append((event, fields)))
    assert seen[0] == ("progress_started", {"task": "train", "total": 2 * 3 * (16 + 12), "unit": "img"})
    assert seen[-1][0] == "progress_finished" and seen[-1][1]["done"] == 168
    epochs = [fields for event, fields in seen if event == "epoch"]
    assert [row["epoch"] for row in epochs] == [0, 1] and {"ce", "oe"} <= epochs[0].keys()


class Faulty(CrossEntropy):
    """NaN in the loss of the steps in ``bad``."""

    bad = range(0)

    def __call__(self, learner, batch):
        self.count = getattr(self, "count", -1) + 1
        backward = learner.backward
        if self.count in self.bad:
            learner.backward = lambda loss: backward(loss * math.nan)
        try:
            return super().__call__(learner, batch)
        finally:
            learner.backward = backward


def faulty(steps):
    return type("Faulty", (Faulty,), {"bad": steps})


def test_steps_that_are_not_finite_are_skipped_and_counted(monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "ce", faulty([1, 2, 4]))
    model, report = train(epochs=3)
    assert report["skipped_steps"] == 3
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    assert all(math.isfinite(row["ce"]) for row in report["history"])


def test_an_epoch_of_skipped_steps_has_no_means(monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "ce", faulty(range(3)))
    assert train(epochs=2)[1]["history"][0] == {"epoch": 0}


def test_twenty_bad_steps_in_a_row_end_the_training(monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "ce", faulty(range(2, 100)))
    with pytest.raises(DogfastError, match=r"20 steps in a row.*--pretrain-lr"):
        train(epochs=8)


def test_an_absurd_learning_rate_is_named():
    with pytest.raises(DogfastError, match="--lr"):
        train("oe", epochs=30, lr=1e30)


# --- what it refuses --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("objective", ["oe", "dog"])
def test_missing_outliers_are_refused(objective):
    images, labels, _ = colours(32)
    with pytest.raises(UsageError, match="--outliers"):
        train(objective, data=(images, labels, None))


def test_ce_needs_none():
    images, labels, _ = colours(32)
    assert train("ce", data=(images, labels, None))[1]["history"]


def test_an_unknown_objective_lists_the_known():
    with pytest.raises(UsageError, match="ce, oe, dog"):
        train("magic")


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda x, y, o: (x[:0], y[:0], o), "no ID images"),
        (lambda x, y, o: (x, y + 1, o), "labels reach from 1 to 2"),
        (lambda x, y, o: (x, y, o[:0]), "no outliers"),
        (lambda x, y, o: (x, y, o[..., :6]), "outliers are 6 x 8 px"),
    ],
)
def test_unfit_data_is_refused(change, message):
    with pytest.raises(DataError, match=message):
        train("oe", data=change(*colours(32)))
