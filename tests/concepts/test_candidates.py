"""Eq. 5: the K nearest words of every class."""

import pytest
import torch

import dogfast.concepts.candidates as module
from dogfast.concepts.candidates import nearest_words

QUERIES = torch.randn(7, 8, generator=torch.Generator().manual_seed(1)) * 9
WORDS = torch.randn(20, 8, generator=torch.Generator().manual_seed(2)) * 0.01


def cosine(query, word):
    return float(query @ word / query.norm() / word.norm())


@pytest.mark.parametrize("held", [1, 40, 2**26])
@pytest.mark.parametrize("top_k", [1, 3, 19, 20, 21, 1000])
def test_candidates_are_the_k_largest_cosines_of_single_pairs(top_k, held, monkeypatch):
    monkeypatch.setattr(module, "COSINES_AT_ONCE", held)
    found = nearest_words(QUERIES, WORDS, top_k)
    assert found.words.shape == found.cosines.shape == (7, min(top_k, 20))
    for query, words, cosines in zip(QUERIES, found.words.tolist(), found.cosines.tolist()):
        expected = sorted(range(20), key=lambda w, query=query: -cosine(query, WORDS[w]))[:top_k]
        assert words == expected, "the nearest first"
        assert cosines == pytest.approx([cosine(query, WORDS[w]) for w in words], abs=1e-6)


def test_equal_cosines_still_give_k_different_words():
    found = nearest_words(torch.ones(2, 3), torch.ones(9, 3), 4)
    assert all(len(set(row)) == 4 for row in found.words.tolist())


def test_no_more_cosines_are_held_than_said(monkeypatch):
    monkeypatch.setattr(module, "COSINES_AT_ONCE", 60)
    widest = []
    original = torch.Tensor.topk
    monkeypatch.setattr(torch.Tensor, "topk", lambda self, *a, **k: widest.append(self.numel()) or original(self, *a, **k))
    nearest_words(QUERIES, WORDS, 2)
    assert max(widest) <= 60 and sum(widest) == 7 * 20
