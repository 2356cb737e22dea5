"""Textual inversion of all classes at once: it finds the optimum, and no class touches another."""

import pytest
import torch

import dogfast.concepts.inversion as module
from dogfast.concepts.inversion import RowAdam, _draw, invert
from dogfast.errors import EnvironmentFault

CLASSES, WIDTH, IMAGES = 3, 5, 60
LATENTS = torch.randn(IMAGES, 4, 2, 2, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(IMAGES) % CLASSES
TARGET = torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(1))


def bowl(rows, labels, latents, timesteps, noise):
    """Least at TARGET, with a constant that the data add."""
    return (rows[labels] - TARGET[labels]).square().sum(1).mean() + 0.01 * latents.square().mean()


def run(loss=bowl, steps=400, batch=8, lr=0.05, seed=0, start=None, labels=LABELS, **rest):
    start = torch.zeros(CLASSES, WIDTH) if start is None else start
    return invert(loss, start, LATENTS, labels, 1000, steps, batch, lr, seed, **rest)


# --- the loop ---------------------------------------------------------------------------------------------------
def test_it_reaches_the_optimum_of_every_class():
    start = torch.zeros(CLASSES, WIDTH)
    found = run(steps=600)
    torch.testing.assert_close(found.rows, TARGET, atol=0.02, rtol=0)
    assert found.loss_after < 0.01 * found.loss_before + 0.02
    assert not found.rows.requires_grad and not start.any()


def test_it_is_a_function_of_its_seed_and_of_nothing_global():
    torch.manual_seed(1)
    one = run(steps=30)
    torch.manual_seed(2)
    two, other = run(steps=30), run(steps=30, seed=1)
    assert torch.equal(one.rows, two.rows) and one == two.__class__(one.rows, two.loss_before, two.loss_after, two.steps)
    assert not torch.equal(one.rows, other.rows)


def test_no_steps_return_the_start():
    start = torch.randn(CLASSES, WIDTH)
    found = run(steps=0, start=start)
    assert torch.equal(found.rows, start) and found.steps == 0 and found.loss_before == found.loss_after
    assert found.rows.data_ptr() != start.data_ptr()


def test_images_of_every_update_are_announced():
    told = []
    run(steps=7, batch=5, advance=told.append)
    assert told == [5] * 7


def test_learning_stops_when_nothing_gets_better():
    looks = module.PATIENCE * module.EVALUATE_EVERY
    settled = run(steps=5000, start=TARGET.clone(), lr=1.0)
    assert settled.steps == looks and torch.equal(settled.rows, TARGET)
    assert settled.loss_after == settled.loss_before


def test_the_best_rows_are_kept_when_later_ones_are_worse():
    """The slope turns round after the first look: rows run away from the optimum."""
    calls = []

    def turning(rows, *drawn):
        calls.append(rows.requires_grad)
        sign = -1.0 if sum(calls) > module.EVALUATE_EVERY and rows.requires_grad else 1.0
        return sign * bowl(rows, *drawn)

    found = run(turning, steps=module.EVALUATE_EVERY * 3, lr=0.02)
    best = run(steps=module.EVALUATE_EVERY, lr=0.02)
    assert torch.equal(found.rows, best.rows) and found.loss_after == best.loss_after < found.loss_before
    assert found.steps == module.EVALUATE_EVERY * 3


def test_the_last_steps_are_looked_at_too():
    assert run(steps=module.EVALUATE_EVERY // 2).loss_after < run(steps=0).loss_after


@pytest.mark.parametrize("first", [0, 7, 60])
def test_a_loss_that_is_no_number_ends_it_with_the_step(first):
    calls = []

    def broken(rows, *drawn):
        calls.append(rows.requires_grad)
        return bowl(rows, *drawn) * (float("nan") if sum(calls) >= first else 1.0)

    with pytest.raises(EnvironmentFault, match=rf"not finite at step {first};.*--inversion-lr"):
        run(broken, steps=100)


def test_rows_are_never_longer_than_said():
    found = run(steps=200, longest=0.7)
    assert found.rows.norm(dim=1).max() <= 0.7 + 1e-6 and run(steps=200).rows.norm(dim=1).min() > 0.9


@pytest.mark.parametrize("look", [1, 2, 3])
def test_a_killed_inversion_goes_on_exactly(look):
    steps, states, told = module.EVALUATE_EVERY * 3 + 5, [], []
    whole = run(steps=steps, lr=0.01, keep=lambda state: states.append({k: v.clone() for k, v in state.items()}))
    again = run(steps=steps, lr=0.01, kept=states[look - 1], advance=told.append)
    assert torch.equal(whole.rows, again.rows)
    assert (whole.loss_before, whole.loss_after, whole.steps) == (again.loss_before, again.loss_after, again.steps)
    assert sum(told) == 8 * steps and told[0] == 8 * look * module.EVALUATE_EVERY


def test_the_look_is_the_mean_over_all_fixed_rows_whatever_the_batch(monkeypatch):
    """3 classes x 8 rows, in batches of 5: the last is smaller and must not count as much."""
    losses = [run(steps=0, batch=batch, start=torch.ones(CLASSES, WIDTH)).loss_before for batch in (5, 24, 7, 1)]
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-5)


# --- what is drawn ----------------------------------------------------------------------------------------------
def drawn(count, seed=0, timesteps=1000):
    return _draw(LATENTS, LABELS, timesteps, count, torch.Generator().manual_seed(seed))


def test_draws_hold_together():
    labels, latents, timesteps, noise = drawn(40)
    for label, latent in zip(labels, latents):
        (row,) = (LATENTS == latent).flatten(1).all(1).nonzero()[:, 0].tolist()
        assert LABELS[row] == label
    assert noise.shape == latents.shape == (40, 4, 2, 2) and noise.dtype == torch.float32
    assert timesteps.dtype == torch.int64 and timesteps.min() >= 0 and timesteps.max() < 1000


@pytest.mark.parametrize("count", [1, 8, 64, 250])
def test_timesteps_are_one_of_each_stratum(count):
    timesteps = drawn(count)[2].double()
    strata = (timesteps + 0.5) / 1000 * count
    assert (strata.floor() - torch.arange(count)).abs().max() <= 1
    assert len({tuple(drawn(count, seed)[2].tolist()) for seed in range(5)}) == 5


def test_timesteps_say_nothing_about_labels_over_many_batches():
    generator = torch.Generator().manual_seed(0)
    labels, _, timesteps, _ = (torch.cat(p) for p in zip(*(_draw(LATENTS, LABELS, 1000, 16, generator) for _ in range(250))))
    means = [float(timesteps[labels == y].double().mean()) for y in range(CLASSES)]
    # 4000 rows, a third each: the mean of a uniform 0..999 has a deviation of 8.
    assert all(abs(mean - 499.5) < 35 for mean in means), means
    assert torch.corrcoef(torch.stack([labels.double(), timesteps.double()]))[0, 1].abs() < 0.06


def test_the_top_of_the_last_stratum_is_still_a_timestep(monkeypatch):
    """In float32 (63 + 0.9999999) / 64 is 1: about one run in a thousand would end with an index error."""
    monkeypatch.setattr(torch, "rand", lambda *size, **rest: torch.full(size, 1 - 2**-24))
    for count in (1, 64, 128, 1000):
        assert drawn(count)[2].max() == 999


def test_noise_is_new_for_every_row_and_every_batch():
    generator = torch.Generator().manual_seed(0)
    noises = torch.cat([_draw(LATENTS, LABELS, 1000, 32, generator)[3] for _ in range(4)]).flatten(1)
    assert len(torch.unique(noises, dim=0)) == 128
    assert abs(float(noises.mean())) < 0.1 and abs(float(noises.std()) - 1) < 0.1


# --- RowAdam ----------------------------------------------------------------------------------------------------
def gradients(steps, seed=0):
    return torch.randn(steps, CLASSES, WIDTH, generator=torch.Generator().manual_seed(seed))


def test_it_is_adam_when_every_row_is_seen():
    rows, theirs = TARGET.clone(), TARGET.clone().requires_grad_(True)
    ours, reference = RowAdam(rows, 0.03), torch.optim.Adam([theirs], lr=0.03, betas=module.BETAS)
    for gradient in gradients(25):
        ours.step(rows, gradient, torch.arange(CLASSES))
        theirs.grad = gradient
        reference.step()
    torch.testing.assert_close(rows, theirs.detach(), rtol=1e-4, atol=1e-6)


def test_a_row_moves_as_if_it_were_alone():
    """Row 1 is seen at some steps only; it must be where Adam over those steps alone would bring it."""
    seen = [0, 3, 4, 9]
    rows, alone = TARGET.clone(), TARGET[[1]].clone().requires_grad_(True)
    ours, reference = RowAdam(rows, 0.03), torch.optim.Adam([alone], lr=0.03, betas=module.BETAS)
    for step, gradient in enumerate(gradients(12)):
        before = rows.clone()
        touched = [0, 1] if step in seen else [0, 2]
        ours.step(rows, gradient, torch.tensor(touched))
        still = [y for y in range(CLASSES) if y not in touched]
        assert torch.equal(rows[still], before[still]) and not torch.equal(rows[touched], before[touched])
        if step in seen:
            alone.grad = gradient[[1]]
            reference.step()
    torch.testing.assert_close(rows[[1]], alone.detach(), rtol=1e-4, atol=1e-6)


def test_classes_without_images_never_move():
    labels = torch.where(LABELS == 1, 0, LABELS)
    start = torch.randn(CLASSES, WIDTH)
    found = run(steps=50, start=start, labels=labels)
    assert torch.equal(found.rows[1], start[1]) and not torch.equal(found.rows[[0, 2]], start[[0, 2]])


def test_an_update_moves_the_classes_of_its_batch_and_no_other(monkeypatch):
    """Adam's memory of earlier batches would move the others too."""
    drawn_labels, touched = [], []

    def watched(rows, labels, *drawn):
        if rows.requires_grad:
            drawn_labels.append(sorted(set(labels.tolist())))
        return bowl(rows, labels, *drawn)

    original = RowAdam.step

    def step(self, rows, gradient, seen):
        before = rows.clone()
        original(self, rows, gradient, seen)
        touched.append((rows != before).any(1).nonzero()[:, 0].tolist())

    monkeypatch.setattr(RowAdam, "step", step)
    run(watched, steps=30, batch=2)
    assert touched == drawn_labels and {len(seen) for seen in touched} == {1, 2}
