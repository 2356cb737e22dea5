"""The standard class sets: their names, curated for prompts, and the WordNet synset each of them means.

Homonyms are resolved where the names are: `crane bird` beside `construction crane`. The lists are frozen files of
`assets/classes`, in label order.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from dogfast.data.nouns import Nouns, Synset, folded, frozen_nouns

FOLDER = Path(__file__).parents[1] / "assets" / "classes"
CLASS_SETS = ("cifar10", "cifar100", "imagenet", "imagenet-100", "imagenet-200", "tiny-imagenet")
WNID = re.compile(r"n\d{8}")
DEPICTABLE = ("animal", "artifact", "body", "food", "object", "person", "phenomenon", "plant", "substance")
"""Lexicographer classes whose words a picture can show."""


@lru_cache(maxsize=len(CLASS_SETS))
def frozen_classes(name: str) -> dict[str, str]:
    """Synset id of every class by its name, in label order."""
    lines = (FOLDER / f"{name}.tsv").read_text(encoding="utf-8").splitlines()
    return {label: wnid for wnid, label in (line.split("\t") for line in lines)}


def name_of_folder(folder: str) -> str:
    """What the class folder ``folder`` is called: a WNID's curated ImageNet name, else its first lemma; others as they are."""
    if not WNID.fullmatch(folder):
        return folder
    if folder in _curated():
        return _curated()[folder]
    known = frozen_nouns().synsets.get(folder)
    return known.lemmas[0] if known else folder


@lru_cache(maxsize=1)
def _curated() -> dict[str, str]:
    return {wnid: name for each in ("tiny-imagenet", "imagenet") for name, wnid in frozen_classes(each).items()}


def synsets_of(classes: str, names: tuple[str, ...], nouns: Nouns) -> list[tuple[str, ...]]:
    """Ids of what each class may mean: the curated synset of a standard set, else every sense a picture can show.

    A folder's class that bears a curated name means that synset too. The embedded world's shapes mean none of WordNet's, and
    in a WordNet that lacks a curated synset the name's senses stand for it.
    """
    if classes == "shapes":
        return [()] * len(names)
    if classes in CLASS_SETS and nouns.synsets.keys() >= set(frozen_classes(classes).values()):
        return [(frozen_classes(classes)[name],) for name in names]
    by_name = {folded(name): wnid for wnid, name in _curated().items()}
    return [_senses(by_name.get(folded(name), ""), nouns.senses_of(name), nouns) for name in names]


def _senses(curated: str, senses: list[Synset], nouns: Nouns) -> tuple[str, ...]:
    shown = [sense.id for sense in senses if sense.category in DEPICTABLE and not sense.instance]
    return tuple(dict.fromkeys(([curated] if curated in nouns.synsets else []) + shown))
