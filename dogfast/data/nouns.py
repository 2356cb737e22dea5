"""WordNet's nouns (Fellbaum 1998): what a word may mean, and what is a kind of what.

A frozen table of WordNet 3.0 is part of the package, so every machine searches the same words; `read_corpus` makes the same
from any WordNet that NLTK reads.
"""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

FROZEN = Path(__file__).parents[1] / "assets" / "nouns" / "wordnet-3.0.tsv.xz"
INSTANCE, OFFENSIVE = "i", "o"
SLURS = frozenset({"ethnic_slur", "disparagement", "derogation", "obscenity"})
"""Usage domains in which WordNet files words that insult."""
INSULTING = re.compile(
    r"\b(ethnic slur|disparaging|derogatory|pejorative|(offensive|insulting|vulgar|obscene) (and \w+ )?(names?|terms?|words?|slang))\b"
)
"""What glosses of such words say where no usage domain is given."""


@dataclass(frozen=True)
class Synset:
    """One meaning. ``id``: n and eight digits, as ImageNet names it; ``category``: the lexicographer class without `noun.`.

    ``hypernyms``: what it is a kind, or (``instance``) an instance of. ``offensive``: WordNet files it as a slur or obscenity.
    """

    id: str
    category: str
    lemmas: tuple[str, ...]
    hypernyms: tuple[str, ...]
    instance: bool = False
    offensive: bool = False


class Nouns:
    """Synsets by id, and the senses of every spelling, the most frequent first."""

    def __init__(self, synsets: Iterable[Synset], senses: dict[str, tuple[str, ...]]):
        self.synsets = {synset.id: synset for synset in synsets}
        self.senses = senses

    def senses_of(self, word: str) -> list[Synset]:
        """What ``word`` may mean, compared without case; nothing where it is no noun."""
        return [self.synsets[each] for each in self.senses.get(folded(word), ())]

    def spellings(self) -> list[str]:
        """Every noun as it is written, sorted; where spellings differ in case only, the one in small letters."""
        lemmas = sorted(lemma for synset in self.synsets.values() for lemma in synset.lemmas)
        return sorted({folded(lemma): lemma for lemma in lemmas}.values())

    def ancestors(self, ids: Iterable[str], levels: int | None = None) -> set[str]:
        """Hypernyms of ``ids``, theirs, and so on: ``levels`` steps up, or all the way. Without ``ids`` themselves."""
        return _reached(ids, lambda each: self.synsets[each].hypernyms, levels)

    def descendants(self, ids: Iterable[str]) -> set[str]:
        """Everything that is a kind or an instance of one of ``ids``, without ``ids`` themselves."""
        return _reached(ids, lambda each: self._hyponyms.get(each, ()), None)

    @cached_property
    def _hyponyms(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for synset in self.synsets.values():
            for hypernym in synset.hypernyms:
                found.setdefault(hypernym, []).append(synset.id)
        return found


def _reached(ids: Iterable[str], neighbours, levels: int | None) -> set[str]:
    start = set(ids)
    seen, front = set(start), start
    while front and (levels is None or levels > 0):
        front = {other for each in front for other in neighbours(each)} - seen
        seen |= front
        levels = None if levels is None else levels - 1
    return seen - start


def folded(word: str) -> str:
    """A spelling for comparing: single spaces, no underscores, no case."""
    return " ".join(word.replace("_", " ").split()).casefold()


# --- the frozen table -------------------------------------------------------------------------------------------
@lru_cache(maxsize=1)
def frozen_nouns() -> Nouns:
    """WordNet 3.0 as it was frozen."""
    return parse_table(lzma.decompress(FROZEN.read_bytes()).decode())


def format_table(nouns: Nouns) -> str:
    """A line a synset: id, category, marks, hypernyms, lemmas with the rank of this sense among each lemma's."""
    lines = []
    for synset in sorted(nouns.synsets.values(), key=lambda each: each.id):
        marks = INSTANCE * synset.instance + OFFENSIVE * synset.offensive
        ranks = [nouns.senses[folded(lemma)].index(synset.id) for lemma in synset.lemmas]
        lemmas = "|".join(f"{lemma}~{rank}" if rank else lemma for lemma, rank in zip(synset.lemmas, ranks))
        lines.append("\t".join((synset.id, synset.category, marks, ",".join(synset.hypernyms), lemmas)))
    return "\n".join(lines) + "\n"


def parse_table(text: str) -> Nouns:
    """What `format_table` wrote."""
    synsets, ranked = [], {}
    for line in text.splitlines():
        id, category, marks, hypernyms, lemmas = line.split("\t")
        spellings = []
        for entry in lemmas.split("|"):
            lemma, _, rank = entry.partition("~")
            spellings.append(lemma)
            ranked.setdefault(folded(lemma), []).append((int(rank or 0), id))
        above = tuple(hypernyms.split(",")) if hypernyms else ()
        synsets.append(Synset(id, category, tuple(spellings), above, INSTANCE in marks, OFFENSIVE in marks))
    return Nouns(synsets, {word: tuple(dict.fromkeys(id for _, id in sorted(found))) for word, found in ranked.items()})


# --- NLTK -------------------------------------------------------------------------------------------------------
def read_corpus(reader) -> Nouns:
    """The nouns of an NLTK ``WordNetCorpusReader``."""
    known = {synset.offset() for synset in reader.all_synsets("n")}
    synsets = [_synset(each) for each in reader.all_synsets("n")]
    ranked: dict[str, list[str]] = {}
    for lemma in reader.all_lemma_names(pos="n"):
        offsets = reader._lemma_pos_offset_map[lemma]["n"]
        ranked.setdefault(folded(lemma), []).extend(_id(offset) for offset in offsets if offset in known)
    return Nouns(synsets, {word: tuple(dict.fromkeys(found)) for word, found in ranked.items()})


def _synset(found) -> Synset:
    instances = found.instance_hypernyms()
    above = instances or found.hypernyms()
    return Synset(
        _id(found.offset()),
        found.lexname().removeprefix("noun."),
        tuple(name.replace("_", " ") for name in found.lemma_names()),
        tuple(sorted(_id(each.offset()) for each in above)),
        instance=bool(instances),
        offensive=_insults(found),
    )


def _insults(found) -> bool:
    domains = [*found.usage_domains(), *(domain.synset() for lemma in found.lemmas() for domain in lemma.usage_domains())]
    named = {name for domain in domains for name in domain.lemma_names()}
    return bool(named & SLURS) or bool(INSULTING.search(found.definition()))


def _id(offset: int) -> str:
    return f"n{offset:08d}"
