"""What `mini` knows: CIFAR-10's ten concepts and 160 of Tiny ImageNet's classes, and every name WordNet has for them."""

from collections import Counter
from dataclasses import dataclass

from tiny_imagenet import parted

from dogfast.data.class_sets import frozen_classes, name_of_folder
from dogfast.data.nouns import folded, frozen_nouns


@dataclass(frozen=True)
class Concept:
    """``folder``: the class folder of its images; ``names``: what it is called, its class name first."""

    folder: str
    names: tuple[str, ...]


def concepts() -> tuple[list[Concept], list[Concept]]:
    """Of CIFAR-10, and those of Tiny ImageNet that are not held out. A name that several bear is only a class name's."""
    training, _, shared = parted()
    cifar = [(name, name, wnid) for name, wnid in frozen_classes("cifar10").items()]
    tiny = [(wnid, name_of_folder(wnid), wnid) for wnid in sorted([*training, *shared])]
    synsets = frozen_nouns().synsets
    called = {folder: tuple(map(folded, (first, *synsets[wnid].lemmas))) for folder, first, wnid in (*cifar, *tiny)}
    firsts = {names[0] for names in called.values()}
    borne = Counter(name for names in called.values() for name in set(names))

    def concept(folder: str) -> Concept:
        first, *others = called[folder]
        return Concept(folder, (first, *dict.fromkeys(n for n in others if n not in firsts and borne[n] == 1)))

    return [concept(folder) for folder, *_ in cifar], [concept(folder) for folder, *_ in tiny]
