"""The words in which anchors are searched: where they come from, and which of them are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dogfast.config import RunConfig
from dogfast.data import shapes
from dogfast.data.class_sets import synsets_of
from dogfast.data.nouns import Nouns, Synset, folded, frozen_nouns, read_corpus
from dogfast.data.word_rules import NOUN_RULES, RULES, Banned, Rule, reason_against
from dogfast.environment import Choice
from dogfast.errors import DataError, EnvironmentFault, UsageError

BLOCK_LIST = Path(__file__).parents[1] / "assets" / "nouns" / "blocked.txt"
NAMED = ("shapes", "wordnet", "nltk")
CORPUS = "wordnet"


@dataclass(frozen=True)
class Vocabulary:
    """``words``: sorted, distinct in folded spelling. ``left_out``: how many words each rule kept out."""

    words: tuple[str, ...]
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """Where words come from, what they mean, and which rules they must pass."""

    words: Callable[[], list[str]]
    nouns: Nouns
    rules: dict[str, Rule]


def choose_vocabulary(wanted: str, classes: str) -> Choice[str]:
    """`shapes`, `wordnet`, `nltk` or a file: the one asked for, else by class set."""
    if wanted != "auto":
        return Choice(wanted, "asked for by --vocabulary")
    if classes == "shapes":
        return Choice("shapes", "the embedded generator knows the shape words")
    return Choice("wordnet", "the nouns of WordNet 3.0, part of the package")


def load_vocabulary(name: str, class_names: tuple[str, ...], config: RunConfig) -> Vocabulary:
    """The words of ``name`` that no rule of `word_rules` keeps out; ``config.data.classes`` says what class names mean.

    Raises :class:`UsageError` for a name that is no source, :class:`DataError` for an unreadable file or when no word is left.
    """
    source = _source(name)
    banned = _banned(source, class_names, config)
    kept: dict[str, str] = {}
    left_out: Counter[str] = Counter()
    for word in sorted(source.words()):
        reason = reason_against(word, banned, source.rules)
        if reason:
            left_out[reason] += 1
        else:
            kept[folded(word)] = word
    if not kept:
        raise DataError(f"--vocabulary {name}: no word is left ({_counted(left_out)})")
    return Vocabulary(tuple(sorted(kept.values())), {rule: left_out[rule] for rule in source.rules if left_out[rule]})


def explain_word(word: str, name: str, class_names: tuple[str, ...], config: RunConfig) -> dict[str, Any]:
    """What ``word`` may mean, and the rule that keeps it out of ``name`` (empty: none does)."""
    source = _source(name)
    banned = _banned(source, class_names, config)
    known = folded(word) in set(map(folded, source.words()))
    reason = reason_against(word, banned, source.rules) if known else f"not a word of --vocabulary {name}"
    return {"word": word, "senses": [_sense(each, source.nouns) for each in source.nouns.senses_of(word)], "reason": reason}


def _sense(synset: Synset, nouns: Nouns) -> dict[str, Any]:
    above = [nouns.synsets[each].lemmas[0] for each in synset.hypernyms]
    return {"synset": synset.id, "category": synset.category, "lemmas": list(synset.lemmas), "kind_of": above}


def _counted(left_out: Counter[str]) -> str:
    return ", ".join(f"{reason}: {count}" for reason, count in left_out.items()) or "it holds none"


def _banned(source: Source, class_names: tuple[str, ...], config: RunConfig) -> Banned:
    block_list = config.concepts.block_list
    return Banned(
        nouns=source.nouns,
        class_names=class_names,
        class_ids=tuple(synsets_of(config.data.classes, class_names, source.nouns)),
        excluded=config.concepts.exclude_words,
        block_list=tuple(_lines(Path(block_list or BLOCK_LIST), "--block-list")),
    )


# --- sources ----------------------------------------------------------------------------------------------------
def _source(name: str) -> Source:
    if name == "shapes":
        return Source(lambda: list(shapes.VOCABULARY), Nouns([], {}), RULES)
    if name in NAMED:
        nouns = frozen_nouns() if name == "wordnet" else _installed_nouns()
        return Source(nouns.spellings, nouns, NOUN_RULES)
    words = _lines(Path(name), "--vocabulary")
    return Source(lambda: words, frozen_nouns(), RULES)


def _lines(path: Path, flag: str) -> list[str]:
    """The entries of a word list: a line each, without comments and what stands behind a tab."""
    if not path.is_file():
        other = f"neither {', '.join(NAMED)} nor a file" if flag == "--vocabulary" else "no file"
        raise UsageError(f"{flag} {str(path)!r} is {other} of one word a line")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"{flag} {path} is not a readable text file ({error}); save it as UTF-8") from error
    return [word for line in lines if (word := " ".join(line.split("\t")[0].split())) and not word.startswith("#")]


def _installed_nouns() -> Nouns:
    """The nouns of the WordNet that NLTK finds, downloaded where it finds none."""
    import nltk
    from nltk.corpus.reader.wordnet import WordNetCorpusReader
    from nltk.corpus.util import LazyCorpusLoader

    def read() -> Nouns:
        reader = LazyCorpusLoader(CORPUS, WordNetCorpusReader, None)
        reader.ensure_loaded()
        return read_corpus(reader)

    try:
        return read()
    except LookupError:
        nltk.download(CORPUS, quiet=True)
    try:
        return read()
    except LookupError as error:
        raise EnvironmentFault(
            "--vocabulary nltk: NLTK finds no WordNet and cannot download it; put it into a folder of $NLTK_DATA, "
            "or use --vocabulary wordnet, which is part of the package"
        ) from error
