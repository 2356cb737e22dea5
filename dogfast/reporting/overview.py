"""What the judged classifier learned from, at a glance: how much of it, and a few pictures beside the known ones."""

from __future__ import annotations

from dataclasses import dataclass

from dogfast.reporting.figures import count, listing
from dogfast.reporting.gallery import Gallery, Picture
from dogfast.reporting.pair import Pair, seedless
from dogfast.reporting.throughput import Painting

OWN_SOURCE = "dog"
TILES, PICTURES = 8, 3


@dataclass(frozen=True)
class Tile:
    """One class: an ID image of it, outliers of its nearest words, and those words."""

    class_name: str
    twin: Picture
    outliers: tuple[Picture, ...]
    words: str


@dataclass(frozen=True)
class Overview:
    """``facts`` are numbers and what they count; empty where this run did not paint ``source``."""

    learner: str
    source: str
    facts: tuple[tuple[str, str], ...]
    tiles: tuple[Tile, ...]


def build_overview(pair: Pair | None, gallery: Gallery, paintings: list[Painting], words: int) -> Overview | None:
    """Of the classifier that is judged, else of what is painted; None where there is neither. ``words``: anchors kept."""
    if pair is None and not gallery.sources:
        return None
    source = source_of(pair.after.name) if pair else gallery.sources[0]
    painting = next((one for one in paintings if one.source in (source, f"{source}-latent")), None)
    return Overview(pair.after.name if pair else "", source, _facts(painting, words, gallery), tuple(_tiles(gallery, source)))


def source_of(name: str) -> str:
    """`dog+renders~2@1` learned from `renders`, `dog` from `dog`."""
    return seedless(name).partition("~")[0].partition("+")[2] or OWN_SOURCE


def _facts(painting: Painting | None, words: int, gallery: Gallery) -> tuple[tuple[str, str], ...]:
    if painting is None:
        return ()
    facts = [(count(painting.images), f"painted {painting.what}")]
    if words and painting.source.startswith(OWN_SOURCE):
        facts.append((count(words), "words near the classes"))
    if gallery.n_classes:
        facts.append((count(gallery.n_classes), "known classes"))
    if painting.img_per_s:
        facts.append((f"{painting.img_per_s:.3g}", f"{painting.what} a second"))
    return tuple(facts)


def _tiles(gallery: Gallery, source: str) -> list[Tile]:
    tiles = []
    for one in gallery.classes:
        groups = [group for group in one.groups if group.source == source][:PICTURES]
        if one.twins and groups and len(tiles) < TILES:
            outliers = groups[0].pictures[:PICTURES] if len(groups) == 1 else [group.pictures[0] for group in groups]
            words = listing([group.anchor for group in groups if group.anchor])
            tiles.append(Tile(one.class_name, one.twins[0], tuple(outliers), words))
    return tiles
