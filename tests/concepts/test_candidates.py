"""Eq. 5: the K nearest words of every class."""

import pytest
import torch

from dogfast.concepts.candidates import choose_candidates, text_cosines


def test_cosines_are_those_of_single_pairs_whatever_the_lengths():
    generator = torch.Generator().manual_seed(0)
    pseudo, words = torch.randn(3, 8, generator=generator) * 9, torch.randn(20, 8, generator=generator) * 0.01
    found = text_cosines(pseudo, words)
    assert found.shape == (3, 20)
    for c in range(3):
        for w in range(20):
            expected = float(pseudo[c] @ words[w] / pseudo[c].norm() / words[w].norm())
            assert float(found[c, w]) == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(text_cosines(words, words).diagonal(), torch.ones(20))


@pytest.mark.parametrize("top_k", [1, 3, 19, 20, 21, 1000])
def test_candidates_are_the_k_largest_of_each_row(top_k):
    cosines = torch.rand(4, 20, generator=torch.Generator().manual_seed(1)) * 2 - 1
    chosen = choose_candidates(cosines, top_k)
    assert chosen.dtype == torch.bool and chosen.shape == cosines.shape
    for row, mask in zip(cosines.tolist(), chosen.tolist()):
        expected = sorted(range(20), key=lambda w, row=row: -row[w])[:top_k]
        assert {w for w in range(20) if mask[w]} == set(expected)


def test_equal_cosines_still_give_exactly_k():
    assert choose_candidates(torch.zeros(2, 9), 4).sum(1).tolist() == [4, 4]
