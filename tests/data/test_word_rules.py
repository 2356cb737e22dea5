"""Each rule that keeps a word out, on WordNet's own words."""

import pytest

from dogfast.data.class_sets import frozen_classes
from dogfast.data.nouns import frozen_nouns
from dogfast.data.word_rules import NEAR_LEVELS, NOUN_RULES, RULES, Banned, reason_against

CIFAR10 = frozen_classes("cifar10")


@pytest.fixture(scope="module")
def banned():
    ids = tuple((wnid,) for wnid in CIFAR10.values())
    block_list = ("n05513302", "swastika", "n00000000")
    return Banned(nouns=frozen_nouns(), class_names=tuple(CIFAR10), class_ids=ids, excluded=("Red Fox",), block_list=block_list)


@pytest.mark.parametrize(
    "word, reason",
    [
        ("red fox", "excluded by --exclude-words"),
        ("domestic dog", "names a class"),
        ("Equus caballus", "names a class"),
        ("poodle", "a kind of a class"),
        ("crane", "a kind of a class"),
        ("feline", f"what a class is a kind of, within {NEAR_LEVELS} levels"),
        ("placental", f"what a class is a kind of, within {NEAR_LEVELS} levels"),
        ("wop", "offensive"),
        ("testis", "on the block list"),
        ("swastika", "on the block list"),
        ("merchandising", "no sense that a picture can show"),
        ("Einstein", "a proper noun or a taxon"),
        ("Albert Einstein", "a proper noun or a taxon"),
        ("genus Canis", "a proper noun or a taxon"),
        ("Felidae", "a proper noun or a taxon"),
        ("vitamin B12", "holds digits"),
        ("large yellow lady's slipper", "longer than 3 words"),
        ("wolf", ""),
        ("leopard", ""),
        ("snow leopard", ""),
        ("wheelbarrow", ""),
        ("Siamese twin", ""),
    ],
)
def test_a_word_and_what_keeps_it_out(banned, word, reason):
    assert banned.nouns.senses_of(word), "a noun of WordNet"
    assert reason_against(word, banned, NOUN_RULES) == reason


def test_words_of_other_origin_need_not_be_nouns_but_may_not_name_classes(banned):
    assert reason_against("zorblax", banned, RULES) == reason_against("Albert Einstein", banned, RULES) == ""
    assert reason_against("Dog", banned, RULES) == "names a class"


def test_a_common_word_with_a_crude_sense_stays_when_the_common_sense_comes_first(banned):
    blocking = Banned(nouns=banned.nouns, class_names=(), class_ids=(), block_list=("n03088164",))
    assert reason_against("condom", blocking, NOUN_RULES) == "on the block list"
    assert reason_against("rubber", blocking, NOUN_RULES) == ""
