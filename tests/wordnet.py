"""A small cut of WordNet in its own file format, for tests that read it through NLTK."""

from collections import defaultdict
from pathlib import Path

LEXNAMES = """adj.all adj.pert adv.all noun.Tops noun.act noun.animal noun.artifact noun.attribute noun.body noun.cognition
noun.communication noun.event noun.feeling noun.food noun.group noun.location noun.motive noun.object noun.person
noun.phenomenon noun.plant noun.possession noun.process noun.quantity noun.relation noun.shape noun.state noun.substance
noun.time verb.body verb.change verb.cognition verb.communication verb.competition verb.consumption verb.contact
verb.creation verb.emotion verb.motion verb.perception verb.possession verb.social verb.stative verb.weather adj.ppl""".split()
PARTS = {"noun": 1, "verb": 2, "adj": 3, "adv": 4}
HEADER = "  1 a cut for tests in the format of wndb(5WN)\n"

CUT = {
    "entity": ("Tops", ["entity"], {}, "that which exists"),
    "animal": ("Tops", ["animal", "beast"], {"@": ["entity"]}, "a living organism"),
    "carnivore": ("animal", ["carnivore"], {"@": ["animal"]}, "eats meat"),
    "canine": ("animal", ["canine", "canid"], {"@": ["carnivore"]}, "fissiped mammals"),
    "dog": ("animal", ["dog", "domestic_dog"], {"@": ["canine"]}, "a member of the genus Canis"),
    "puppy": ("animal", ["puppy"], {"@": ["dog"]}, "a young dog"),
    "wolf": ("animal", ["wolf"], {"@": ["canine"]}, "wild and hunting in packs"),
    "polar_bear": ("animal", ["polar_bear", "ice_bear"], {"@": ["carnivore"]}, "white bear"),
    "wolf_person": ("person", ["wolf", "beast"], {"@": ["entity"]}, "a man who is aggressive"),
    "cur": ("person", ["cur"], {"@": ["entity"]}, "an offensive term for a cowardly person"),
    "Fido": ("animal", ["Fido"], {"@i": ["dog"]}, "a dog of that name"),
    "Rome": ("object", ["Rome"], {"@i": ["entity"]}, "a place"),
    "idea": ("cognition", ["idea"], {"@": ["entity"]}, "the content of cognition"),
    "B-52": ("artifact", ["B-52"], {"@": ["entity"]}, "a bomber"),
    "longhand": ("artifact", ["thing_of_far_too_many_words"], {"@": ["entity"]}, "a thing"),
}
"""Nickname: lexicographer class, lemmas, pointers by symbol, gloss."""


def write_wordnet(folder: Path, synsets: dict = CUT) -> Path:
    """Write ``synsets`` as an NLTK data folder holding `corpora/wordnet`; returns ``folder``."""
    root = folder / "corpora" / "wordnet"
    root.mkdir(parents=True)
    place, offsets = len(HEADER), {}
    for name in synsets:
        offsets[name] = place
        place += len(_line(name, synsets, dict.fromkeys(synsets, 0)))
    (root / "data.noun").write_text(HEADER + "".join(_line(name, synsets, offsets) for name in synsets))
    senses = defaultdict(list)
    for name, (_, lemmas, _, _) in synsets.items():
        for lemma in lemmas:
            senses[lemma.lower()].append(offsets[name])
    index = [
        f"{word} n {len(found)} 0 {len(found)} 0 {' '.join(f'{o:08d}' for o in found)}  \n" for word, found in senses.items()
    ]
    (root / "index.noun").write_text(HEADER + "".join(sorted(index)))
    for part in ("verb", "adj", "adv"):
        for kind in ("data", "index"):
            (root / f"{kind}.{part}").write_text(HEADER)
    for part in PARTS:
        (root / f"{part}.exc").write_text("")
    for name in ("cntlist.rev", "index.sense"):
        (root / name).write_text("")
    rows = [f"{number:02d}\t{name}\t{PARTS[name.split('.')[0]]}\n" for number, name in enumerate(LEXNAMES)]
    (root / "lexnames").write_text("".join(rows))
    return folder


def _line(name: str, synsets: dict, offsets: dict[str, int]) -> str:
    category, lemmas, pointers, gloss = synsets[name]
    words = " ".join(f"{lemma} 0" for lemma in lemmas)
    targets = [f"{symbol} {offsets[other]:08d} n 0000" for symbol, others in pointers.items() for other in others]
    number = LEXNAMES.index(f"noun.{category}")
    return f"{offsets[name]:08d} {number:02d} n {len(lemmas):02x} {words} {' '.join([f'{len(targets):03d}', *targets])} | {gloss}  \n"
