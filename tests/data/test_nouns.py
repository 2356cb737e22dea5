"""WordNet's nouns: the frozen table, what NLTK reads, and walks over hypernyms."""

import warnings

import pytest

from dogfast.data.nouns import folded, format_table, frozen_nouns, parse_table, read_corpus
from tests.wordnet import CUT, write_wordnet


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    from nltk.corpus.reader.wordnet import WordNetCorpusReader
    from nltk.data import FileSystemPathPointer

    root = write_wordnet(tmp_path_factory.mktemp("nltk")) / "corpora" / "wordnet"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import nltk

        nltk.data.path.append(str(root.parents[1]))
        try:
            return read_corpus(WordNetCorpusReader(FileSystemPathPointer(str(root)), None))
        finally:
            nltk.data.path.remove(str(root.parents[1]))


def named(nouns, ids):
    return {nouns.synsets[each].lemmas[0] for each in ids}


def test_a_corpus_is_read_whole(corpus):
    assert len(corpus.synsets) == len(CUT)
    (dog,) = corpus.senses_of("Dog")
    assert dog.lemmas == ("dog", "domestic dog") and dog.category == "animal" and not dog.instance
    assert named(corpus, dog.hypernyms) == {"canine"}
    assert [sense.category for sense in corpus.senses_of("wolf")] == ["animal", "person"], "the first sense first"
    assert corpus.senses_of("nonesuch") == []


def test_names_and_insults_are_marked(corpus):
    assert {each.lemmas[0] for each in corpus.synsets.values() if each.instance} == {"Fido", "Rome"}
    assert {each.lemmas[0] for each in corpus.synsets.values() if each.offensive} == {"cur"}


def test_walks_go_up_by_levels_and_down_to_the_end(corpus):
    (dog,) = corpus.senses_of("dog")
    assert named(corpus, corpus.ancestors([dog.id], levels=2)) == {"canine", "carnivore"}
    assert named(corpus, corpus.ancestors([dog.id])) == {"canine", "carnivore", "animal", "entity"}
    assert named(corpus, corpus.descendants([dog.id])) == {"puppy", "Fido"}
    assert corpus.ancestors([]) == corpus.descendants([]) == set()


def test_a_table_is_what_was_written(corpus):
    again = parse_table(format_table(corpus))
    assert again.synsets == corpus.synsets and again.senses == corpus.senses


def test_spellings_differ_by_more_than_case(corpus):
    words = corpus.spellings()
    assert words == sorted(words) and len({folded(word) for word in words}) == len(words)
    assert "polar bear" in words and "polar_bear" not in words


def test_the_frozen_table_is_wordnet_30():
    nouns = frozen_nouns()
    assert (len(nouns.synsets), len(nouns.senses)) == (82_115, 117_798)
    assert sum(each.category == "animal" for each in nouns.synsets.values()) == 7509
    assert nouns.synsets["n02084071"].lemmas == ("dog", "domestic dog", "Canis familiaris")
    assert {"n02083346"} <= set(nouns.synsets["n02084071"].hypernyms)
    assert all(above in nouns.synsets for each in nouns.synsets.values() for above in each.hypernyms)
    assert all(sense in nouns.synsets for senses in nouns.senses.values() for sense in senses)
