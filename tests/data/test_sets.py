"""The table of data sets: complete, with the figures of the protocols, and grouped as the benchmarks group them."""

import re

import pytest

from dogfast.data.class_sets import CLASS_SETS
from dogfast.data.resize import FILTERS
from dogfast.data.sets import FAR_IN_OPENOOD, NEAR, SETS, SUITES, expected_counts, group_of, suite, suites_with
from dogfast.errors import UsageError

ID = {"shapes", "cifar10", "cifar100", "imagenet", "imagenet-100", "imagenet-200", "tiny-imagenet"}
OOD = {
    "svhn", "lsun-c", "lsun-r", "isun", "textures", "places365", "inaturalist", "sun", "tiny-imagenet", "mnist", "cifar10",
    "cifar100", "gaussian", "rademacher", "blobs", "ssb-hard", "ninco", "openimage-o",
}  # fmt: skip


def test_every_set_that_is_promised_is_there():
    assert (ID | OOD) <= SETS.keys()


@pytest.mark.parametrize("name", SETS)
def test_every_set_has_all_facts(name):
    known = SETS[name]
    assert known.origin and known.licence and known.native and known.resize.filter in FILTERS
    assert bool(known.painter) != bool(known.test_images), "it is painted, or has a size"
    assert known.painter or re.search(r"\b(19|20)\d\d\b", known.origin), "authors, year, title"
    assert (name in CLASS_SETS) == bool(known.train_images)
    assert all(0 < count <= 10 * known.test_images for count in known.protocols.values())
    assert not known.hub or re.fullmatch(r"[\w.-]+/[\w.-]+", known.hub.repo)
    assert not known.train_images or known.hub.train, "what is learned from the hub has a split to learn from"


@pytest.mark.parametrize(
    "name, count",
    [
        ("svhn", 26_032), ("lsun-c", 10_000), ("lsun-r", 10_000), ("isun", 8_925), ("textures", 5_640), ("mnist", 10_000),
        ("inaturalist", 10_000), ("sun", 10_000), ("ssb-hard", 49_000), ("ninco", 5_879), ("cifar10", 10_000), ("imagenet", 50_000),
    ],
)  # fmt: skip
def test_the_sizes_of_test_parts(name, count):
    assert SETS[name].test_images == count


def test_what_protocols_take_of_them():
    """methods of OpenOOD v1.5 and of MOS: subsets, which differ by ID set."""
    assert expected_counts("tiny-imagenet") == {
        "published": 10_000, "openood beside cifar10": 7_793, "openood beside cifar100": 6_526,
    }  # fmt: skip
    assert {10_000, 35_195, 33_773} <= set(expected_counts("places365").values())
    assert 9_000 in expected_counts("cifar100").values() and 5_160 in expected_counts("textures").values()
    assert 70_000 in expected_counts("mnist").values() and 15_869 in expected_counts("openimage-o").values()


def test_expected_counts_by_part():
    assert expected_counts("cifar10", "train") == {"published": 50_000} and expected_counts("cifar10", "all") == {
        "published": 60_000
    }
    assert expected_counts("svhn", "train") == {}, "it is not learned from"
    assert expected_counts("gaussian") == expected_counts("mine") == {}


# --- suites and groups ------------------------------------------------------------------------------------------
def test_the_suites_of_the_paper():
    assert suite("cifar", "cifar10") == suite("cifar", "cifar100") == ("textures", "svhn", "places365", "lsun-c", "isun")
    assert suite("imagenet", "imagenet") == ("inaturalist", "sun", "places365", "textures")


@pytest.mark.parametrize(
    "classes, near, far",
    [
        ("cifar10", {"cifar100", "tiny-imagenet"}, {"mnist", "svhn", "textures", "places365"}),
        ("cifar100", {"cifar10", "tiny-imagenet"}, {"mnist", "svhn", "textures", "places365"}),
        ("imagenet", {"ssb-hard", "ninco"}, {"inaturalist", "textures", "openimage-o"}),
        ("imagenet-200", {"ssb-hard", "ninco"}, {"inaturalist", "textures", "openimage-o"}),
    ],
)
def test_openood_goes_by_the_id_set(classes, near, far):
    sets = suite("openood", classes)
    assert {name for name in sets if group_of(name, classes) == "near"} == near
    assert {name for name in sets if group_of(name, classes) == "far"} == far


def test_groups_are_of_a_pair():
    assert group_of("cifar100", "cifar10") == "near" and group_of("cifar100", "imagenet") == "far"
    assert group_of("held-out-shapes", "shapes") == "near" and group_of("held-out-shapes", "cifar10") == "far"
    assert group_of("ninco", "imagenet-100") == "near" and group_of("mine", "a/folder") == "far"


def test_every_suite_is_of_sets_that_are_known():
    for name in (*SUITES, "openood"):
        for classes in FAR_IN_OPENOOD:
            sets = suite(name, classes)
            assert set(sets) <= SETS.keys() and len(set(sets)) == len(sets) and classes not in sets
    assert all(set(near) <= SETS.keys() and classes in SETS for classes, near in NEAR.items())


@pytest.mark.parametrize("classes", ["shapes", "tiny-imagenet", "imagenet-100", "a/folder"])
def test_an_id_set_that_openood_lacks(classes):
    with pytest.raises(
        UsageError, match=rf"suite:openood has no sets beside --classes {classes}, only beside: cifar10, cifar100"
    ):
        suite("openood", classes)


def test_an_unknown_suite():
    with pytest.raises(UsageError, match=r"suite:cfar is unknown; choose one of: suite:cifar, suite:imagenet, suite:openood"):
        suite("cfar", "cifar10")


def test_the_suites_of_a_set():
    assert suites_with("textures") == ["suite:cifar", "suite:imagenet", "suite:openood"]
    assert suites_with("isun") == ["suite:cifar"] and suites_with("cifar10") == ["suite:openood"] and suites_with("blobs") == []
