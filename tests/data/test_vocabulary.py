"""The words in which anchors are searched: from the shapes, a user's file or WordNet."""

import pytest

from dogfast.config import RunConfig
from dogfast.data import shapes
from dogfast.data.vocabulary import choose_vocabulary, explain_word, load_vocabulary
from dogfast.errors import DataError, EnvironmentFault, UsageError
from tests.wordnet import write_wordnet


def config(classes="mine", **concepts):
    return RunConfig().with_values({"data": {"classes": classes}, "concepts": concepts}, "test")


def words_of(name, class_names=(), **concepts):
    return load_vocabulary(name, tuple(class_names), config("shapes" if name == "shapes" else "mine", **concepts)).words


@pytest.mark.parametrize(
    "wanted, classes, chosen", [("auto", "shapes", "shapes"), ("auto", "cifar10", "wordnet"), ("w.txt", "shapes", "w.txt")]
)
def test_choice_has_a_reason(wanted, classes, chosen):
    choice = choose_vocabulary(wanted, classes)
    assert choice.value == chosen and choice.reason


def test_shapes_hold_neither_classes_nor_held_out_words():
    words = words_of("shapes", shapes.ID_WORDS)
    assert set(words) == set(shapes.VOCABULARY) and list(words) == sorted(words)
    assert not set(words) & {*shapes.ID_WORDS, *shapes.VALIDATION_WORDS, *shapes.TEST_WORDS}


def test_class_names_and_excluded_words_are_left_out_in_any_spelling():
    words = words_of("shapes", ("Gear",), exclude_words=("KITE", " wave "))
    assert set(shapes.VOCABULARY) - set(words) == {"gear", "kite", "wave"}


def test_a_file_of_words(tmp_path):
    file = tmp_path / "words.txt"
    file.write_bytes("\ufeffwolf\r\n\n# a comment\r\n  polar   bear \nHäuschen\nfire truck".encode())
    assert words_of(str(file), ("fire_truck",)) == ("Häuschen", "polar bear", "wolf")


def test_spellings_are_folded_to_one(tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("wolf\nWolf\nWOLF\npolar_bear\npolar bear\nPolar  Bear\n")
    words = words_of(str(file))
    assert len(words) == 2 and {word.replace("_", " ").casefold() for word in words} == {"wolf", "polar bear"}
    file.write_text("\n".join(reversed(file.read_text().splitlines())))
    assert words_of(str(file)) == words, "whatever the order of lines"


@pytest.mark.parametrize("name", ["nowhere.txt", ".", ""])
def test_a_missing_file_is_a_usage_error(name):
    with pytest.raises(UsageError, match=r"--vocabulary .* is neither shapes, wordnet, nltk nor a file"):
        words_of(name)


def test_a_binary_file_is_refused(tmp_path):
    file = tmp_path / "words.bin"
    file.write_bytes(b"\xff\xfe\x00\x81wolf")
    with pytest.raises(DataError, match=r"--vocabulary .*words\.bin is not a readable text file"):
        words_of(str(file))


@pytest.mark.parametrize("content", ["", "# only a comment\n", "cat\nCAT\n"])
def test_no_word_left(tmp_path, content):
    file = tmp_path / "words.txt"
    file.write_text(content)
    with pytest.raises(DataError, match="no word is left"):
        words_of(str(file), ("cat",))


def test_words_of_a_file_may_not_name_a_class_in_other_words(tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("wolf\npoodle\ncanine\nzorblax\nwop")
    found = load_vocabulary(str(file), ("dog",), config())
    assert found.words == ("wolf", "zorblax")
    assert found.left_out == {"a kind of a class": 1, "what a class is a kind of, within 3 levels": 1, "offensive": 1}


def test_wordnet_comes_with_the_package_and_every_word_is_counted():
    found = load_vocabulary("wordnet", ("airplane", "cat"), config("cifar10"))
    assert {"wolf", "leopard", "helicopter", "wheelbarrow"} <= set(found.words) and not {"tabby", "feline"} & set(found.words)
    assert len(found.words) + sum(found.left_out.values()) == 117_798
    assert list(found.words) == sorted(found.words)


def test_a_block_list_of_ones_own(tmp_path):
    file = tmp_path / "blocked.txt"
    file.write_text("# mine\nn02114100\twolves\nhelicopter\n")
    own = words_of("wordnet", ("cat",), block_list=str(file))
    assert not {"wolf", "timber wolf", "helicopter"} & set(own) and "gallows" in own
    assert {"wolf", "helicopter"} <= set(words_of("wordnet", ("cat",))) and "gallows" not in words_of("wordnet", ("cat",))
    with pytest.raises(UsageError, match=r"--block-list 'gone' is no file"):
        words_of("wordnet", block_list="gone")


@pytest.fixture
def nltk_path(monkeypatch):
    import nltk

    monkeypatch.setattr(nltk.data, "path", [])
    return nltk.data.path


def test_a_wordnet_that_nltk_finds(nltk_path, tmp_path):
    nltk_path.append(str(write_wordnet(tmp_path / "nltk_data")))
    found = load_vocabulary("nltk", ("dog",), config())
    assert found.words == ("ice bear", "polar bear", "wolf")
    assert found.left_out == {
        "names a class": 2,
        "a kind of a class": 2,
        "what a class is a kind of, within 3 levels": 5,
        "offensive": 1,
        "no sense that a picture can show": 2,
        "a proper noun or a taxon": 1,
        "holds digits": 1,
        "longer than 3 words": 1,
    }


def test_in_another_wordnet_a_standard_sets_names_stand_for_its_synsets(nltk_path, tmp_path):
    nltk_path.append(str(write_wordnet(tmp_path / "nltk_data")))
    assert load_vocabulary("nltk", ("dog",), config("cifar10")).words == ("ice bear", "polar bear", "wolf")


def test_a_wordnet_that_nltk_can_download(nltk_path, tmp_path, monkeypatch):
    import nltk

    monkeypatch.setattr(nltk, "download", lambda name, quiet: nltk_path.append(str(write_wordnet(tmp_path / name))))
    assert "wolf" in words_of("nltk", ("dog",))


def test_no_wordnet_for_nltk_says_what_to_do(nltk_path, monkeypatch):
    import nltk

    monkeypatch.setattr(nltk, "download", lambda name, quiet: False)
    with pytest.raises(EnvironmentFault, match=r"--vocabulary nltk: NLTK finds no WordNet .*NLTK_DATA.*--vocabulary wordnet"):
        words_of("nltk")


@pytest.mark.parametrize(
    "word, reason", [("Tabby", "a kind of a class"), ("wolf", ""), ("zorblax", "not a word of --vocabulary wordnet")]
)
def test_a_word_is_explained(word, reason):
    found = explain_word(word, "wordnet", ("cat",), config("cifar10"))
    assert found["reason"] == reason and bool(found["senses"]) == (word != "zorblax")
    if word == "wolf":
        first = found["senses"][0]
        assert (first["synset"], first["category"], first["kind_of"]) == ("n02114100", "animal", ["canine"])
