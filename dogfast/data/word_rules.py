"""Which words are never searched, and why: rules in order, the first that holds names the reason.

A word that names an ID class, or what an ID class is a kind of, would paint ID images and call them outliers; one that no
picture can show paints anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from dogfast.data.class_sets import DEPICTABLE, WNID
from dogfast.data.nouns import Nouns, Synset, folded

NEAR_LEVELS = 3
"""Hypernyms so many steps above a class may be painted as the class: `feline`, `carnivore` and `placental` for cat."""
LONGEST = 3
"""Words in a noun."""
TAXON = "n07992450"
"""Everything below it is a genus, a family or the like."""


@dataclass(frozen=True, kw_only=True)
class Banned:
    """What the rules compare a word with. ``class_ids``: what each class may mean; ``block_list``: words and WNIDs."""

    nouns: Nouns
    class_names: tuple[str, ...]
    class_ids: tuple[tuple[str, ...], ...]
    excluded: tuple[str, ...] = ()
    block_list: tuple[str, ...] = ()

    @cached_property
    def spellings_excluded(self) -> set[str]:
        return set(map(folded, self.excluded))

    @cached_property
    def spellings_blocked(self) -> set[str]:
        return {folded(each) for each in self.block_list if not WNID.fullmatch(each)}

    @cached_property
    def blocked(self) -> set[str]:
        return self._with_kinds(each for each in self.block_list if WNID.fullmatch(each))

    @cached_property
    def names(self) -> set[str]:
        return set(map(folded, self.class_names))

    @cached_property
    def classes(self) -> set[str]:
        return {each for ids in self.class_ids for each in ids}

    @cached_property
    def kinds(self) -> set[str]:
        return self.nouns.descendants(self.classes)

    @cached_property
    def above(self) -> set[str]:
        return self.nouns.ancestors(self.classes, NEAR_LEVELS)

    @cached_property
    def taxa(self) -> set[str]:
        return self._with_kinds([TAXON])

    def _with_kinds(self, ids: Iterable[str]) -> set[str]:
        known = set(ids) & self.nouns.synsets.keys()
        return known | self.nouns.descendants(known)


Senses = list[Synset]
Rule = Callable[[str, Senses, Banned], bool]


def _has(ids: set[str], senses: Senses) -> bool:
    return any(sense.id in ids for sense in senses)


def _shown(senses: Senses) -> Senses:
    return [sense for sense in senses if sense.category in DEPICTABLE]


def _is_proper(word: str, shown: Senses, taxa: set[str]) -> bool:
    """Whether all that ``word`` shows are single things or taxa; of a capitalised word, whether the first is a single thing."""
    return all(sense.instance or sense.id in taxa for sense in shown) or (word[0].isupper() and shown[0].instance)


RULES: dict[str, Rule] = {
    "excluded by --exclude-words": lambda word, senses, banned: folded(word) in banned.spellings_excluded,
    "names a class": lambda word, senses, banned: folded(word) in banned.names or _has(banned.classes, senses),
    "a kind of a class": lambda word, senses, banned: _has(banned.kinds, senses),
    f"what a class is a kind of, within {NEAR_LEVELS} levels": lambda word, senses, banned: _has(banned.above, senses),
    "offensive": lambda word, senses, banned: any(sense.offensive for sense in senses),
    "on the block list": lambda word, senses, banned: (
        folded(word) in banned.spellings_blocked or _has(banned.blocked, _shown(senses)[:1])
    ),
}
"""For words of any origin; what a word means is asked of WordNet."""

NOUN_RULES: dict[str, Rule] = RULES | {
    "no sense that a picture can show": lambda word, senses, banned: not _shown(senses),
    "a proper noun or a taxon": lambda word, senses, banned: _is_proper(word, _shown(senses), banned.taxa),
    "holds digits": lambda word, senses, banned: any(letter.isdigit() for letter in word),
    f"longer than {LONGEST} words": lambda word, senses, banned: len(word.split()) > LONGEST,
}
"""For WordNet's own words, of which most are no names of things."""


def reason_against(word: str, banned: Banned, rules: dict[str, Rule]) -> str:
    """The first of ``rules`` that holds for ``word``; empty where none does."""
    senses = banned.nouns.senses_of(word)
    return next((reason for reason, holds in rules.items() if holds(word, senses, banned)), "")
