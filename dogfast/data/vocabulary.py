"""The words in which anchors are searched."""

from __future__ import annotations

from pathlib import Path

from dogfast.data import shapes
from dogfast.environment import Choice
from dogfast.errors import DataError, EnvironmentFault, UsageError


def choose_vocabulary(wanted: str, classes: str) -> Choice[str]:
    """`shapes`, `wordnet` or a file: the one asked for, else by class set."""
    if wanted != "auto":
        return Choice(wanted, "asked for by --vocabulary")
    if classes == "shapes":
        return Choice("shapes", "the embedded generator knows the shape words")
    return Choice("wordnet", "all nouns of WordNet")


def load_vocabulary(name: str, class_names: tuple[str, ...], excluded: tuple[str, ...]) -> tuple[str, ...]:
    """Words of ``name`` without class names and ``excluded``, sorted and distinct (spelling compared without case)."""
    words = shapes.VOCABULARY if name == "shapes" else _wordnet_nouns() if name == "wordnet" else _words_of_file(Path(name))
    banned = {_folded(word) for word in (*class_names, *excluded)}
    kept = {_folded(word): word for word in sorted(words, reverse=True) if _folded(word) not in banned}
    if not kept:
        raise DataError(f"--vocabulary {name}: no word is left once class names and --exclude-words are removed")
    return tuple(sorted(kept.values()))


def _folded(word: str) -> str:
    return " ".join(word.replace("_", " ").split()).casefold()


def _words_of_file(path: Path) -> list[str]:
    if not path.is_file():
        raise UsageError(f"--vocabulary {str(path)!r} is neither shapes, wordnet nor a file of one word a line")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"--vocabulary {path} is not a readable text file ({error}); save it as UTF-8") from error
    return [word for line in lines if (word := " ".join(line.split())) and not word.startswith("#")]


def _wordnet_nouns() -> list[str]:
    from nltk.corpus import wordnet

    try:
        return [lemma.replace("_", " ") for lemma in wordnet.all_lemma_names(pos="n")]
    except LookupError as error:
        raise EnvironmentFault(
            "WordNet is not installed; run `python -m nltk.downloader wordnet`, or give --vocabulary FILE with one word a line"
        ) from error
