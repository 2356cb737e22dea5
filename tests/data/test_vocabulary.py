"""The words in which anchors are searched: from the shapes, a user's file or WordNet."""

import pytest

from dogfast.data import shapes
from dogfast.data.vocabulary import choose_vocabulary, load_vocabulary
from dogfast.errors import DataError, EnvironmentFault, UsageError


@pytest.mark.parametrize(
    "wanted, classes, chosen", [("auto", "shapes", "shapes"), ("auto", "cifar10", "wordnet"), ("w.txt", "shapes", "w.txt")]
)
def test_choice_has_a_reason(wanted, classes, chosen):
    choice = choose_vocabulary(wanted, classes)
    assert choice.value == chosen and choice.reason


def test_shapes_hold_neither_classes_nor_held_out_words():
    words = load_vocabulary("shapes", shapes.ID_WORDS, ())
    assert set(words) == set(shapes.VOCABULARY) and list(words) == sorted(words)
    assert not set(words) & {*shapes.ID_WORDS, *shapes.VALIDATION_WORDS, *shapes.TEST_WORDS}


def test_class_names_and_excluded_words_are_left_out_in_any_spelling():
    words = load_vocabulary("shapes", ("Gear",), ("KITE", " wave "))
    assert set(shapes.VOCABULARY) - set(words) == {"gear", "kite", "wave"}


def test_a_file_of_words(tmp_path):
    file = tmp_path / "words.txt"
    file.write_bytes("\ufeffwolf\r\n\n# a comment\r\n  polar   bear \nHäuschen\nfire truck".encode())
    assert load_vocabulary(str(file), ("fire_truck",), ()) == ("Häuschen", "polar bear", "wolf")


def test_spellings_are_folded_to_one(tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("wolf\nWolf\nWOLF\npolar_bear\npolar bear\nPolar  Bear\n")
    words = load_vocabulary(str(file), (), ())
    assert len(words) == 2 and {word.replace("_", " ").casefold() for word in words} == {"wolf", "polar bear"}
    file.write_text("\n".join(reversed(file.read_text().splitlines())))
    assert load_vocabulary(str(file), (), ()) == words, "whatever the order of lines"


@pytest.mark.parametrize("name", ["nowhere.txt", ".", ""])
def test_a_missing_file_is_a_usage_error(name):
    with pytest.raises(UsageError, match=r"--vocabulary .* is neither shapes, wordnet nor a file"):
        load_vocabulary(name, (), ())


def test_a_binary_file_is_refused(tmp_path):
    file = tmp_path / "words.bin"
    file.write_bytes(b"\xff\xfe\x00\x81wolf")
    with pytest.raises(DataError, match=r"--vocabulary .*words\.bin is not a readable text file"):
        load_vocabulary(str(file), (), ())


@pytest.mark.parametrize("content", ["", "# only a comment\n", "cat\nCAT\n"])
def test_no_word_left(tmp_path, content):
    file = tmp_path / "words.txt"
    file.write_text(content)
    with pytest.raises(DataError, match="no word is left"):
        load_vocabulary(str(file), ("cat",), ())


def test_missing_wordnet_says_how_to_get_it(monkeypatch):
    import nltk.corpus
    from nltk import data
    from nltk.corpus.util import LazyCorpusLoader

    monkeypatch.setattr(data, "path", [])
    fresh = LazyCorpusLoader(
        "wordnet", nltk.corpus.WordNetCorpusReader, LazyCorpusLoader("omw-1.4", nltk.corpus.WordNetCorpusReader)
    )
    monkeypatch.setattr(nltk.corpus, "wordnet", fresh)
    with pytest.raises(EnvironmentFault, match=r"nltk\.downloader wordnet.*--vocabulary FILE"):
        load_vocabulary("wordnet", (), ())


def test_wordnet_lemmas_become_words(monkeypatch):
    import nltk.corpus

    class Nouns:
        def all_lemma_names(self, pos):
            assert pos == "n"
            return iter(["polar_bear", "wolf", "Wolf", "cat"])

    monkeypatch.setattr(nltk.corpus, "wordnet", Nouns())
    words = load_vocabulary("wordnet", ("Cat",), ())
    assert len(words) == 2 and "polar bear" in words
