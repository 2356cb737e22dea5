"""The plane of words: what lies together in the text space lies together on it, whatever the order."""

import torch

import dogfast.concepts.textmap as module
from dogfast.concepts.anchors import Verdict
from dogfast.concepts.textmap import text_map

NAMES = ("cat", "ship")
WORDS = ("lynx", "boat", "tiger", "raft")


def embedded(seed=0):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.eye(2, 6)
    names = centres + 0.01 * torch.randn(2, 6, generator=generator)
    queries = centres + 0.01 * torch.randn(2, 6, generator=generator)
    vocabulary = centres[[0, 1, 0, 1]] * 5 + 0.05 * torch.randn(4, 6, generator=generator)
    return names, queries, vocabulary


def verdict(word, owner, distance, reason=""):
    return Verdict(word, owner, 0.5, distance, 0.1, 0.9, reason)


VERDICTS = [verdict(0, 0, 0.2), verdict(2, 0, 0.3, "farther"), verdict(1, 1, 0.25), verdict(3, 1, 0.4, "farther")]


def drawn(**changed):
    names, queries, vocabulary = embedded()
    return text_map(NAMES, names, queries, WORDS, vocabulary, changed.get("verdicts", VERDICTS))


def test_every_class_and_word_has_a_place_near_its_own():
    points = drawn()
    assert [point["kind"] for point in points] == ["class"] * 2 + ["pseudo-word"] * 2 + ["anchor"] * 2 + ["candidate"] * 2
    assert [point["name"] for point in points[4:]] == ["lynx", "boat", "tiger", "raft"]
    place = {(p["kind"], p["name"]): torch.tensor([p["x"], p["y"]]) for p in points}
    for word, own, other in (("lynx", "cat", "ship"), ("boat", "ship", "cat")):
        to = {name: (place["anchor", word] - place["class", name]).norm() for name in (own, other)}
        assert to[own] < 0.2 * to[other]
    assert all(-1 <= point[axis] <= 1 for point in points for axis in "xy")


def test_the_picture_does_not_flip():
    assert drawn() == drawn()
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(3)))[0]
    names, queries, vocabulary = (part @ turn for part in embedded())
    turned = text_map(NAMES, names, queries, WORDS, vocabulary, VERDICTS)
    for one, other in zip(drawn(), turned):
        assert abs(abs(one["x"]) - abs(other["x"])) < 0.01


def test_anchors_come_before_candidates_when_there_are_too_many(monkeypatch):
    monkeypatch.setattr(module, "WORDS_AT_MOST", 2)
    assert [point["name"] for point in drawn()[4:]] == ["lynx", "boat"]
