"""Anchors that name classes of the test sets are told of."""

from dogfast.concepts.overlap import tell_of_overlap
from dogfast.config import RunConfig
from dogfast.data import shapes
from dogfast.events import Events


def told(words, ood, classes="cifar10"):
    said = []
    config = RunConfig().with_values({"data": {"classes": classes}, "detection": {"ood": ood}}, "test")
    found = tell_of_overlap([{"word": word} for word in words], config, Events(lambda event, f: said.append(f["text"])))
    return found, said


def test_by_set_and_in_any_spelling(tmp_path):
    for folder in ("Lawn_Mower", "n02114100"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.png").write_bytes(b"")
    found, said = told(["lawn mower", "wolf", "zebra"], [f"mine={tmp_path}", "blobs"])
    assert found == {"mine": ["lawn mower"]} or found == {"mine": ["lawn mower", "wolf"]}
    assert len(said) == 1 and "--exclude-words 'lawn mower'" in said[0]


def test_no_overlap_is_silent():
    assert told(["zebra"], ["blobs", "held-out-shapes"]) == ({}, [])


def test_the_embedded_worlds_test_words_are_no_anchors():
    assert told(shapes.VOCABULARY, ["held-out-shapes"], "shapes") == ({}, [])
    assert told([shapes.TEST_WORDS[0]], ["held-out-shapes"], "shapes")[0] == {"held-out-shapes": [shapes.TEST_WORDS[0]]}
