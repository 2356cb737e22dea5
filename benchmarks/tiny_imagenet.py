"""Tiny ImageNet beside CIFAR-10: which of its classes may train, which only test, and which are CIFAR's own."""

import os
import tarfile
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from dogfast.data.class_sets import frozen_classes, synsets_of
from dogfast.data.nouns import frozen_nouns

HELD_OUT = 40


def parted(classes: str = "cifar10") -> tuple[list[str], list[str], list[str]]:
    """WordNet ids of Tiny ImageNet's classes: those that train, those held out for tests, and those that show one of ``classes``.

    A class shows one of ``classes`` where it is the same or a kind of it. Of the others the 40 of smallest SHA-256 are held out.
    """
    nouns, names = frozen_nouns(), tuple(frozen_classes(classes))
    own = {each for senses in synsets_of(classes, names, nouns) for each in senses}
    own |= nouns.descendants(own)
    everything = [ids for ids in synsets_of("tiny-imagenet", tuple(frozen_classes("tiny-imagenet")), nouns)]
    wnids = sorted({each for ids in everything for each in ids}, key=lambda wnid: sha256(wnid.encode()).hexdigest())
    others = [wnid for wnid in wnids if wnid not in own]
    return sorted(others[HELD_OUT:]), sorted(others[:HELD_OUT]), sorted(set(wnids) & own)


def write_subset(source: Path, classes: Iterable[str], target: Path, per_class: int = 0) -> int:
    """A tar of the images of ``source`` (`class/number.jpg`) whose class is one of ``classes``; how many they are.

    At most ``per_class`` of each (0 = all), those that come first.
    """
    taken = dict.fromkeys(classes, 0)
    part = target.with_suffix(".part")
    with tarfile.open(source) as given, tarfile.open(part, "w") as kept:
        for member in given:
            name = member.name.partition("/")[0]
            if member.isfile() and name in taken and not 0 < per_class <= taken[name]:
                kept.addfile(member, given.extractfile(member))
                taken[name] += 1
    os.replace(part, target)
    return sum(taken.values())
