"""The frozen class lists: complete, distinct, and each name meaning one synset."""

import pytest

from dogfast.data.class_sets import CLASS_SETS, DEPICTABLE, frozen_classes, name_of_folder, synsets_of
from dogfast.data.nouns import folded, frozen_nouns

SIZES = {"cifar10": 10, "cifar100": 100, "imagenet": 1000, "imagenet-100": 100, "imagenet-200": 200, "tiny-imagenet": 200}


@pytest.mark.parametrize("name", CLASS_SETS)
def test_every_class_has_a_name_of_its_own_and_a_meaning_a_picture_shows(name):
    classes = frozen_classes(name)
    nouns = frozen_nouns()
    assert len(classes) == len(set(classes.values())) == len(set(map(folded, classes))) == SIZES[name]
    for label, wnid in classes.items():
        assert 1 <= len(label.split()) <= 5 and not set(label) & set("_,/()|")
        assert nouns.synsets[wnid].category in (*DEPICTABLE, "object", "shape", "location", "event", "communication"), label


@pytest.mark.parametrize("name", [name for name in CLASS_SETS if not name.startswith("cifar")])
def test_wnid_folders_are_in_label_order(name):
    assert list(frozen_classes(name).values()) == sorted(frozen_classes(name).values())


def test_subsets_call_their_classes_as_imagenet_does():
    whole = frozen_classes("imagenet")
    for name in ("imagenet-100", "imagenet-200", "tiny-imagenet"):
        assert frozen_classes(name).items() <= whole.items()


@pytest.mark.parametrize(
    "wnid, other, word",
    [("n02012849", "n03126707", "crane"), ("n02963159", "n02113186", "cardigan"), ("n02879718", None, "bow")],
)
def test_homonyms_are_told_apart(wnid, other, word):
    by_id = {value: key for key, value in frozen_classes("imagenet").items()}
    assert by_id[wnid].casefold() != word or other is None
    assert other is None or (by_id[wnid] != by_id[other] and word in by_id[other].casefold())


def test_a_folder_named_by_wnid_gets_its_name():
    assert name_of_folder("n03126707") == {v: k for k, v in frozen_classes("imagenet").items()}["n03126707"]
    assert name_of_folder("n02084071") == "dog", "no ImageNet class: its first lemma"
    assert [name_of_folder(folder) for folder in ("n99999999", "crane", "n1")] == ["n99999999", "crane", "n1"]


def test_own_folders_mean_every_sense_a_picture_shows():
    nouns = frozen_nouns()
    (crane,), shapes = synsets_of("mine", ("crane",), nouns), synsets_of("shapes", ("ring", "star"), nouns)
    assert {"n02012849", "n03126707"} <= set(crane) and shapes == [(), ()]
    assert all(nouns.synsets[each].category in DEPICTABLE and not nouns.synsets[each].instance for each in crane)
    assert synsets_of("cifar10", ("dog",), nouns) == [(frozen_classes("cifar10")["dog"],)]
