"""Queues of features: against lists, with more features than room, and with few images."""

from collections import deque

import pytest
import torch

from dogfast.training.queues import ClassQueue, turns


def marked(first, count):
    """Features that carry a number in both columns."""
    return torch.arange(first, first + count).float()[:, None].expand(-1, 2).clone()


def held(queue):
    return [sorted(set(rows[:, 0].tolist())) for rows in queue.features]


@pytest.mark.parametrize("batch", [1, 3, 10, 40])
def test_it_holds_the_latest_of_every_class_in_any_batch_size(batch):
    labels = torch.randint(3, (80,), generator=torch.Generator().manual_seed(0))
    queue, lists = ClassQueue(3, 4, 2), [deque(maxlen=4) for _ in range(3)]
    for number, label in enumerate(labels.tolist()):
        lists[label].append(float(number))
    for first in range(0, 80, batch):
        some = labels[first : first + batch]
        queue.push(marked(first, len(some)), some)
    assert held(queue) == [sorted(each) for each in lists] and queue.full


def test_it_is_full_when_every_class_is():
    queue = ClassQueue(2, 2, 2)
    for labels, full in (([0, 0, 0], False), ([1], False), ([1], True)):
        queue.push(marked(1, len(labels)), torch.tensor(labels))
        assert bool(queue.full) is full


def test_a_class_of_few_images_is_full_earlier_and_repeats_them():
    queue = ClassQueue(2, 4, 2)
    queue.expect(torch.tensor([0, 0, 0, 0, 1]), 2)
    assert queue.lengths.tolist() == [4, 2]
    queue.push(marked(1, 6), torch.tensor([0, 0, 0, 0, 1, 1]))
    assert queue.full and queue.features[1, :, 0].tolist() == [5, 6, 5, 6]
    queue.push(marked(7, 1), torch.tensor([1]))
    assert queue.features[1, :, 0].tolist() == [7, 6, 7, 6]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_not_taken_in(bad):
    queue = ClassQueue(1, 2, 2)
    queue.push(marked(1, 1), torch.tensor([0]))
    features = marked(2, 2)
    features[0, 1] = bad
    queue.push(features, torch.tensor([0, 0]))
    assert queue.rows[0, :, 0].tolist() == [1, 0] and queue.seen.tolist() == [1] and not queue.full


def test_turns_count_what_came_before():
    assert turns(torch.tensor([2, 0, 2, 2, 0])).tolist() == [0, 0, 1, 2, 1]
