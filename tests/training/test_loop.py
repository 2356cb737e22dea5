"""The loop: schedule, cycling, seeds, steps that are skipped, and that it learns."""

import dataclasses
import json
import math
from functools import partial

import pytest
import torch

from dogfast.classifiers.rejection import add_rejection
from dogfast.classifiers.rotations import RotationAveraged
from dogfast.classifiers.wrn import WideResNet
from dogfast.config import ObjectivesConfig, TrainingConfig
from dogfast.errors import DataError, DogfastError, OutOfMemory, RunMismatch, UsageError
from dogfast.events import Events
from dogfast.training.batches import Batches, Held
from dogfast.training.checkpoints import read_checkpoint, write_checkpoint
from dogfast.training.loop import Keeping, Machine, fit
from dogfast.training.objective import Task
from dogfast.training.objectives import OBJECTIVES
from dogfast.training.objectives.ce import CrossEntropy
from dogfast.training.optimizers import SCHEDULES, cosine, stepwise, warm_cosine
from dogfast.training.regimes import regime_of
from tests.training.steps import held_for


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


QUICK = {"npos": {"virtual_queue": 16, "npos_draws": 20}}
"""What makes a method that is slow as published quick."""
METHODS = {field.name for field in dataclasses.fields(ObjectivesConfig)}


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


def train(
    objective="ce",
    n=48,
    epochs=1,
    lr=0.05,
    model=None,
    sink=None,
    precision="fp32",
    data=None,
    log=None,
    keeping=None,
    **fields,
):
    model = model or (RotationAveraged(small()) if OBJECTIVES[objective].rotates else small())
    images, labels, outliers = data or colours(n)
    own = {"batch": 16, "ood_batch": 12, "epochs": epochs, "lr": lr, "pretrain_epochs": epochs, "pretrain_lr": lr}
    methods = ObjectivesConfig(**{name: fields.pop(name) for name in list(fields) if name in METHODS})
    config = TrainingConfig(objective=objective, **(own | fields))
    events = Events(*([sink] if sink else []))
    held = None if outliers is None else held_for(objective, images, outliers, config.train_seed)
    regime, machine = regime_of(config, methods, ""), Machine(precision=precision)
    log = log or (lambda row: None)
    if OBJECTIVES[objective].rejects:
        add_rejection(model)
    return model, fit(model, images, labels, held, regime, config, methods, events, machine, "train", log, keeping)


def same_weights(one, two):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values()))


# --- schedule and data ------------------------------------------------------------------------------------------
def test_the_cosine_starts_at_the_peak_and_ends_at_its_floor():
    rates = [cosine(step, 11, 0.1) for step in range(11)]
    assert rates[0] == 0.1 and rates[-1] == 1e-6
    assert rates[5] == pytest.approx((0.1 + 1e-6) / 2)
    assert rates == sorted(rates, reverse=True)
    assert cosine(0, 1, 0.1) == 0.1 and cosine(0, 5, 1e-7) == cosine(4, 5, 1e-7) == 1e-7


def test_steps_drop_to_a_tenth_three_times():
    rates = [stepwise(step, 100, 0.1) for step in range(100)]
    assert [step for step in range(1, 100) if rates[step] < rates[step - 1]] == [50, 75, 90]
    assert rates[-1] == pytest.approx(1e-4)


@pytest.mark.parametrize("name, drops", [("even-steps", [60, 120, 180]), ("one-step", [120])])
def test_other_steps_drop_where_their_papers_say(name, drops):
    rates = [SCHEDULES[name](step, 200, 0.1) for step in range(200)]
    assert [step for step in range(1, 200) if rates[step] < rates[step - 1]] == drops
    assert rates[-1] == pytest.approx(0.1 ** (1 + len(drops)))


def test_the_warm_cosine_rises_then_ends_at_its_floor():
    rates = [warm_cosine(step, 700, 0.1) for step in range(700)]
    assert rates[0] == pytest.approx(0.01) and rates[9] == rates[10] == 0.1 and rates[-1] == pytest.approx(1e-6)
    assert rates[:10] == sorted(rates[:10]) and rates[10:] == sorted(rates[10:], reverse=True)


def test_the_last_step_of_a_fit_has_the_last_rate(monkeypatch):
    rates = []

    class Spy(CrossEntropy):
        def forward(self, learner, batch):
            rates.append(learner.optimizer.param_groups[0]["lr"])
            return super().forward(learner, batch)

    monkeypatch.setitem(OBJECTIVES, "ce", Spy)
    train(n=50, epochs=2)
    assert len(rates) == 6 and rates[0] == 0.05 and rates[-1] == 1e-6


@pytest.mark.parametrize("count, size", [(10, 4), (3, 8), (7, 7), (1, 5)])
def test_every_outlier_is_drawn_before_any_is_drawn_again(count, size):
    held = Held(torch.arange(count), 0)
    drawn = torch.cat([held.take(size) for _ in range(3 * count)])
    rounds = drawn.split(count)
    assert len(drawn) == 3 * count * size
    assert all(sorted(r.tolist()) == list(range(count)) for r in rounds if len(r) == count)
    assert count < 3 or not torch.equal(rounds[0], rounds[1]) or not torch.equal(rounds[1], rounds[2])


def test_outliers_go_on_where_they_stood():
    held, again = Held(torch.arange(10), 4), Held(torch.arange(10), 4)
    held.take(7)
    again.seek(held.position)
    assert torch.equal(held.take(9), again.take(9))


def test_rows_are_those_of_the_whole():
    whole, part = Held(torch.arange(10), 4), Held(torch.arange(10), 4)
    for _ in range(4):
        assert torch.equal(whole.take(6)[2:4], part.take(6, slice(2, 4)))


def marked(n):
    """Images that carry their number in every pixel."""
    return torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 3, 8, 8).contiguous()


def numbers(images):
    return (images.amax((1, 2, 3)) * 255).round().long().tolist()


def batches_of(images, labels, outliers, model=None, **fields):
    config, methods = TrainingConfig(objective="oe", **fields), ObjectivesConfig()
    regime = regime_of(config, methods, "")
    objective = OBJECTIVES["oe"](Task(methods, regime, model or small(), images.shape[2]))
    return Batches(images, labels, Held(outliers, 0), regime, objective, 0, torch.device("cpu"))


def test_an_epoch_shows_each_image_once_with_its_label():
    batches = batches_of(marked(40), torch.arange(40), marked(100) + 100, batch=16, ood_batch=30)
    assert (batches.steps, batches.passes) == (2, 46)
    first, second = list(batches.epoch(0)), list(batches.epoch(1))
    seen = [number for batch in first for number in numbers(batch.id_images)]
    assert len(seen) == len(set(seen)) == 32
    assert all(numbers(batch.id_images) == batch.id_labels.tolist() for batch in first)
    assert seen != [number for batch in second for number in numbers(batch.id_images)]
    shown = [number for batch in first + second for number in numbers(batch.outliers)]
    assert set(shown[:100]) == set(range(100, 200))


def test_some_id_images_are_drawn_from_all():
    batches = batches_of(marked(100), torch.arange(100), marked(10))
    some = [(numbers(images), labels.tolist()) for images, labels in batches.id_chunks(16, 40)]
    assert all(shown == labels for shown, labels in some) and [len(shown) for shown, _ in some] == [16, 16, 8]
    drawn = [number for shown, _ in some for number in shown]
    assert len(set(drawn)) == 40 and min(drawn) < 20 and max(drawn) >= 80, "an ordered set is not read from its beginning alone"
    assert [numbers(images) for images, _ in batches.id_chunks(100, 100)] == [list(range(100))]


def test_an_epoch_is_taken_up_in_its_middle():
    one, two = (batches_of(marked(40), torch.arange(40), marked(10), batch=8, ood_batch=3) for _ in range(2))
    whole = list(one.epoch(3))
    two.outliers.seek({"taken": 3 * 2})
    for batch, same in zip(whole[2:], two.epoch(3, first=2), strict=True):
        assert torch.equal(batch.joint, same.joint) and torch.equal(batch.id_labels, same.id_labels)


def test_a_set_smaller_than_a_batch_is_one_batch():
    (batch,) = batches_of(marked(5), torch.arange(5), marked(2), batch=16, ood_batch=6).epoch(0)
    assert len(batch.id_images) == 5 and len(batch.outliers) == 6
    assert len(batch.joint) == 11 and [len(part) for part in batch.split(batch.joint)] == [5, 6]


def test_batches_are_unit_floats_in_channels_last():
    images, labels, outliers = colours(32)
    batch = next(batches_of(images, labels, outliers, batch=16).epoch(0))
    assert batch.id_images.dtype == torch.float32 and 0 <= batch.id_images.min() and 0.5 < batch.id_images.max() <= 1
    assert batch.joint.is_contiguous(memory_format=torch.channels_last)


def test_a_batch_that_cannot_be_computed_in_parts_is_refused():
    with pytest.raises(UsageError, match=r"--ood-batch 12 .*--accumulate 5; choose a multiple of 5"):
        train("oe", accumulate=5, batch=15)


# --- fit --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("objective", ["ce", "oe", "energy-oe", "doe", "dog"])
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


@pytest.mark.parametrize("objective", ["atom", "poem"])
def test_what_is_mined_teaches_to_tell_outliers(objective):
    model, report = train(objective, n=96, epochs=4)
    images, _, outliers = colours(60, seed=1)
    with torch.no_grad():
        features = [model.features(x.float() / 255) for x in (images, outliers)]
        score = (lambda f: -model.rejection(f)[:, 0] + model.head(f).logsumexp(1)) if objective == "atom" else model.head
        known, unknown = (score(f).reshape(len(f), -1).logsumexp(1) for f in features)
    assert (known[:, None] > unknown).float().mean() > 0.95 and report["skipped_steps"] == 0


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

    def forward(self, learner, batch):
        backward = learner.backward
        if learner.at in self.bad:
            learner.backward = lambda loss: backward(loss * math.nan)
        try:
            return super().forward(learner, batch)
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


def test_a_device_without_memory_is_told_with_what_helps(monkeypatch):
    class Greedy(CrossEntropy):
        def forward(self, learner, batch):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 90 GiB")

    monkeypatch.setitem(OBJECTIVES, "ce", Greedy)
    with pytest.raises(OutOfMemory, match=r"a step of 16 ID images .*--accumulate \(now 1\).*--batch"):
        train()


# --- what is kept -----------------------------------------------------------------------------------------------
class Killed(Exception):
    pass


def dies_at(name, step):
    method = OBJECTIVES[name]

    def forward(self, learner, batch):
        if learner.at == step:
            raise Killed
        return method.forward(self, learner, batch)

    return type("Dying", (method,), {"forward": forward})


def keeping(tmp_path, **identity):
    return Keeping(tmp_path / "last.safetensors", identity, 0.0)


@pytest.mark.parametrize(
    "objective, fields, precision",
    [
        *((name, QUICK.get(name, {}), "fp32") for name in OBJECTIVES),
        ("dog", {"wor_step": "alternate"}, "bf16"),
        ("oal", {"oal_mi": "club", "oal_contrast": 1.0}, "fp32"),
        ("dog", {"ema": 0.9, "accumulate": 2, "momentum": 0.0}, "fp32"),
        pytest.param("vos", {"virtual_start": 0.0, "virtual_queue": 10, "accumulate": 2}, "bf16", marks=pytest.mark.slow),
        pytest.param("supcon", {"ema": 0.9}, "bf16", marks=pytest.mark.slow),
    ],
)
def test_a_resumed_training_equals_one_that_was_never_interrupted(objective, fields, precision, tmp_path, monkeypatch):
    whole, report = train(objective, epochs=3, precision=precision, **fields)
    for step in (1, 5):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setitem(OBJECTIVES, objective, dies_at(objective, step))
            train(objective, epochs=3, precision=precision, keeping=keeping(tmp_path), **fields)
        assert read_checkpoint(tmp_path / "last.safetensors")[1]["step"] == step
    resumed, again = train(objective, epochs=3, precision=precision, keeping=keeping(tmp_path), **fields)
    assert same_weights(whole, resumed) and again["history"] == report["history"]


def test_the_scale_that_fp16_gradients_grew_to_is_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.amp, "GradScaler", partial(torch.amp.GradScaler, growth_interval=1))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setitem(OBJECTIVES, "ce", dies_at("ce", 3))
        train(epochs=3, precision="fp16", keeping=keeping(tmp_path))
    grown, seen = read_checkpoint(tmp_path / "last.safetensors")[1]["scaler"]["scale"], []

    class Spy(CrossEntropy):
        def forward(self, learner, batch):
            seen.append(learner.scaler.get_scale())
            return super().forward(learner, batch)

    monkeypatch.setitem(OBJECTIVES, "ce", Spy)
    train(epochs=3, precision="fp16", keeping=keeping(tmp_path))
    assert seen[0] == grown != torch.amp.GradScaler("cpu").get_scale()


def test_a_checkpoint_without_that_scale_is_named(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setitem(OBJECTIVES, "ce", dies_at("ce", 1))
        train(precision="fp16", keeping=keeping(tmp_path))
    tensors, facts = read_checkpoint(tmp_path / "last.safetensors")
    write_checkpoint(tmp_path / "last.safetensors", tensors, facts | {"scaler": {}})
    with pytest.raises(DataError, match=r"last\.safetensors has no scale"):
        train(precision="fp16", keeping=keeping(tmp_path))


def test_a_checkpoint_of_another_training_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setitem(OBJECTIVES, "ce", dies_at("ce", 1))
        train(keeping=keeping(tmp_path, lr=1))
    with pytest.raises(RunMismatch, match=r"last\.safetensors was made .*lr: was 1, now 2"):
        train(keeping=keeping(tmp_path, lr=2))


@pytest.mark.parametrize(
    "damage",
    [lambda c: c[:-9], lambda c: b"x" * 40, lambda c: b"", lambda c: c.replace(b"model.head.bias", b"model.head.bibs"),
     lambda c: c.replace(b'\\"step\\"', b'\\"stop\\"')],
    ids=["short", "noise", "empty", "renamed", "without a step"],
)  # fmt: skip
def test_a_damaged_checkpoint_is_named(damage, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setitem(OBJECTIVES, "ce", dies_at("ce", 1))
        train(keeping=keeping(tmp_path))
    path = tmp_path / "last.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"last\.safetensors is not a checkpoint .*remove it"):
        train(keeping=keeping(tmp_path))


def test_rows_for_the_log_have_step_rate_and_losses():
    rows = []
    train("oe", n=50, epochs=2, log=rows.append)
    assert [row["step"] for row in rows] == [3, 6] and [row["epoch"] for row in rows] == [0, 1]
    assert {"lr", "ce", "oe"} <= rows[0].keys() and json.dumps(rows)


def test_no_epochs_leave_the_weights_as_they_are():
    start = small()
    model, outcome = train(pretrain_epochs=0, weights="given", ema=0.5)
    assert same_weights(start, model) and not model.training
    assert outcome["history"] == [] and outcome["img_per_s"] == 0 and outcome["skipped_steps"] == 0
