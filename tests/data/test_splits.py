"""Splits are pure functions of names; their values are frozen, for a change would leak test images into training."""

import pytest

from dogfast.concepts.strategies import STRATEGIES
from dogfast.data import shapes
from dogfast.data.splits import PAINTING_WORDS, is_test_key, is_validation_key, is_validation_outlier, is_validation_word

KEYS = [f"cat/{i}.png" for i in range(10_000)]


def test_frozen_validation_keys():
    assert [i for i in range(40) if is_validation_key(f"cat/{i}.png")] == [1, 7, 14, 18, 20, 29]
    assert is_validation_key("cat/1.png") and not is_validation_key("train/circle/0")


def test_frozen_test_keys():
    assert [i for i in range(20) if is_test_key(f"cat/{i}.png")] == [1, 9, 18]
    assert is_test_key("train/circle/0") and not is_test_key("a/ü.png")


def test_frozen_validation_words():
    words = ("dog", "cat", "wolf", "fox", "tiger", "lion", "bear", "otter", "seal", "whale")
    assert [word for word in words if is_validation_word(word)] == ["fox", "bear"]


@pytest.mark.parametrize("belongs, share", [(is_validation_key, 0.1), (is_test_key, 0.2)])
def test_shares(belongs, share):
    assert abs(sum(map(belongs, KEYS)) / len(KEYS) - share) < 0.015


def test_the_two_splits_are_independent():
    both = sum(is_test_key(key) and is_validation_key(key) for key in KEYS) / len(KEYS)
    assert abs(both - 0.02) < 0.006


def test_share_of_words():
    words = [f"word {i}" for i in range(10_000)]
    assert abs(sum(map(is_validation_word, words)) / len(words) - 0.1) < 0.015


def test_shapes_validate_by_their_own_list():
    assert {word for word in shapes.FIGURES if is_validation_word(word)} == set(shapes.VALIDATION_WORDS)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_only_words_are_held_back_from_training(strategy):
    held_back = is_validation_outlier({"strategy": strategy, "anchor": "fox"})
    assert held_back == (strategy in PAINTING_WORDS), "a class called fox would lose every outlier of it"
    assert not is_validation_outlier({"strategy": strategy, "anchor": "wolf"})


def test_pure():
    assert [is_test_key(key) for key in KEYS[:200]] == [is_test_key(key) for key in reversed(KEYS[:200])][::-1]
