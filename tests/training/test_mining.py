"""Pools: how many outliers they hold, that they are scored in evaluation mode, and which rows a window takes."""

import copy

import pytest
import torch

from dogfast.data.augment import to_unit
from dogfast.training import mining
from dogfast.training.mining import CHUNK, draw_pool, score_pool, window
from tests.training.steps import batches_of, learner_of, marked, small_model


@pytest.mark.parametrize("share, held, count", [(8.0, 20, 20), (8.0, 700, 40), (0.5, 700, 2), (0.01, 700, 1)])
def test_a_pool_is_as_large_as_wished_and_no_larger_than_the_set(share, held, count):
    pool = draw_pool(batches_of("oe", 5, marked(held)), share)
    assert len(pool) == count and pool.dtype == torch.uint8


def test_a_small_set_is_not_in_its_pool_twice():
    batches = batches_of("oe", 500, marked(40))
    for _ in range(3):
        assert sorted(draw_pool(batches, 8.0)[:, 0, 0, 0].tolist()) == list(range(40))


def test_a_pool_of_several_chunks_is_the_next_outliers_in_their_order():
    batches, twin = (batches_of("oe", CHUNK, marked(3 * CHUNK)) for _ in range(2))
    assert torch.equal(draw_pool(batches, 2.5), twin.outliers.take(round(2.5 * CHUNK)))


def test_a_stream_of_unknown_length_gives_what_is_asked_for():
    class Stream:
        def take(self, count, rows=slice(None)):
            return marked(count)

    batches = batches_of("oe", 5, marked(1))
    batches.outliers = Stream()
    assert len(draw_pool(batches, 8.0)) == 40


def test_a_pool_is_scored_in_evaluation_mode_and_leaves_nothing_behind(monkeypatch):
    monkeypatch.setattr(mining, "CHUNK", 10)
    model, pool = small_model(dropout=0.3), marked(27)
    twin = copy.deepcopy(model).eval()
    before = copy.deepcopy(model.state_dict())
    learner = learner_of(model)
    scores = score_pool(learner, pool, lambda images: learner.logits(images.double())[:, 0])
    torch.testing.assert_close(scores, twin(to_unit(pool).double())[:, 0].detach())
    assert model.training and all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    "first, share, expected",
    [(0.125, 0.25, range(2, 6)), (0.0, 0.25, range(4)), (0.9, 0.25, range(14, 16)), (0.0, 9.0, range(16)), (0.5, 0.001, [8])],
)
def test_a_window_takes_the_lowest_behind_a_quantile(first, share, expected):
    places = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    assert places[window(places.double(), first, share)].tolist() == list(expected)


def test_equal_scores_stand_in_their_order():
    assert window(torch.zeros(500), 0.0, 1.0).tolist() == list(range(500))
