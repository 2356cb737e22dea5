"""The gallery: per class its ID images beside the outliers painted from its anchors."""

from __future__ import annotations

import base64
import io
import json
import re
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, UnidentifiedImageError

from dogfast.config.synthesis import STRATEGIES
from dogfast.data.splits import PAINTING_WORDS
from dogfast.errors import DataError
from dogfast.reporting.drawing import new_figure, png_bytes
from dogfast.run import Run
from dogfast.shards.format import ID_CONTROL
from dogfast.shards.reader import holds_latents
from dogfast.store import Place

PER_ANCHOR = 6
PER_ANCHOR_OF_MANY, MANY_ANCHORS = 3, 6
"""A class with more anchors than this shows fewer images of each."""
TWINS = 6
SAMPLES_AT_MOST = 1200
SCAN_AT_MOST = 20_000
"""Samples looked at a source. Plans are index-major, so the first shards hold every class and anchor."""
GALLERY_CHARACTERS = 1_600_000
TWIN_SHARE = 0.3
"""Part of the gallery's characters that ID images may take."""
CLASSES_AT_MOST = 100
OF_NO_WORD = tuple(strategy for strategy in STRATEGIES if strategy not in PAINTING_WORDS)
"""Strategies whose outliers stand together: they were painted from images, classes or points between them."""
MEMBER_BYTES = 8 << 20
END = bytes(2 * tarfile.BLOCKSIZE)
"""A tar's end, which has to be looked for: `tarfile` takes a torn or overwritten header for it as well."""
SIDE_PX, THUMBNAIL_PX = 4096, 96
SHEET_ROWS, SHEET_TWINS, SHEET_OUTLIERS, SHEET_PX = 24, 3, 10, 50
"""Of the PNG file."""
SHARD = re.compile(r"train-(\d{5,})\.tar")
MEMBER = re.compile(r"(\d{1,20})\.(png|jpg|json)")


@dataclass(frozen=True)
class Outlier:
    """One sample as it is stored; ``image`` are the bytes of its file. ``anchor`` is "" where no word was painted."""

    class_name: str
    anchor: str
    prompt: str
    seed: str
    image: bytes


# --- reading shards ---------------------------------------------------------------------------------------------
def sample_outliers(folder: Place, per_anchor: int, limit: int) -> Iterator[Outlier]:
    """At most ``per_anchor`` outliers of each anchor and ``limit`` in all, from the committed shards of ``folder``.

    Nothing is extracted; links, devices, strange names, huge members and samples without image or facts are passed over.
    Raises :class:`DataError`, after what could be read, for a shard that is no tar.
    """
    given: Counter[tuple[str, str]] = Counter()
    scanned = 0
    for path in committed_shards(folder):
        for image, facts in _samples(path):
            scanned += 1
            outlier = _outlier(image, facts)
            if outlier is not None and given[outlier.class_name, outlier.anchor] < per_anchor:
                given[outlier.class_name, outlier.anchor] += 1
                yield outlier
            if scanned >= SCAN_AT_MOST or given.total() >= limit:
                return


def committed_shards(folder: Place) -> list[Place]:
    """The tars whose record exists: what has none is not finished."""
    recorded = {path.stem for path in (folder / "records").glob("*.json")}
    tars = sorted(folder.glob("*.tar"), key=lambda path: path.name)
    return [path for path in tars if (match := SHARD.fullmatch(path.name)) and match[1] in recorded]


def _samples(path: Place) -> Iterator[tuple[bytes, bytes]]:
    """Image and facts of each sample; the members of one sample follow each other."""
    key, parts = "", {}
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r|") as tar:
            for member in tar:
                match = MEMBER.fullmatch(member.name)
                if not match or not member.isreg() or member.size > MEMBER_BYTES:
                    continue
                if match[1] != key:
                    key, parts = match[1], {}
                body = tar.extractfile(member)
                parts["facts" if match[2] == "json" else "image"] = body.read() if body else b""
                if len(parts) == 2:
                    yield parts["image"], parts["facts"]
                    key, parts = "", {}
            file.seek(tar.offset)
            if file.read(len(END)) != END:
                raise tarfile.ReadError(f"no end of archive at byte {tar.offset}")
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error}); run `dogfast shards verify`") from error


def _outlier(image: bytes, facts: bytes) -> Outlier | None:
    try:
        row = json.loads(facts)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not isinstance(row.get("class_name"), str):
        return None
    anchor, prompt = (row[key] if isinstance(row.get(key), str) else "" for key in ("anchor", "prompt"))
    if row.get("strategy") in OF_NO_WORD:  # a tuple: whatever a stranger wrote can be looked for
        anchor = ""
    return Outlier(row["class_name"], anchor, prompt, str(row.get("seed", ""))[:40], image)


# --- images as text ---------------------------------------------------------------------------------------------
def data_uri(image: Image.Image) -> str:
    """A small picture as PNG; one above 96 px is reduced and coded as JPEG."""
    file = io.BytesIO()
    image = image.convert("RGB")
    if max(image.size) > THUMBNAIL_PX:
        image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
        image.save(file, "JPEG", quality=85)
        kind = "jpeg"
    else:
        image.save(file, "PNG", optimize=True)
        kind = "png"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def decoded(content: bytes) -> Image.Image | None:
    """The picture, re-coded later by us; None for what is no PNG or JPEG or is absurdly large."""
    try:
        image = Image.open(io.BytesIO(content), formats=("PNG", "JPEG"))
        if max(image.size) > SIDE_PX:
            return None
        image.draft("RGB", (2 * THUMBNAIL_PX, 2 * THUMBNAIL_PX))
        image.load()
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return image


# --- the view ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Picture:
    uri: str
    title: str


@dataclass(frozen=True)
class AnchorGroup:
    source: str
    anchor: str
    distance: float | None
    pictures: list[Picture] = field(default_factory=list)


@dataclass(frozen=True)
class ClassGallery:
    class_name: str
    twins: tuple[Picture, ...]
    groups: tuple[AnchorGroup, ...]

    @property
    def n_outliers(self) -> int:
        return sum(len(group.pictures) for group in self.groups)


@dataclass(frozen=True)
class Gallery:
    """``problems`` are sentences for the page: what could not be read, what was left out; ``n_classes`` counts hidden ones too."""

    classes: tuple[ClassGallery, ...]
    sources: tuple[str, ...]
    problems: tuple[str, ...]
    n_classes: int

    @property
    def n_outliers(self) -> int:
        return sum(one.n_outliers for one in self.classes)


def painted_sources(run: Run) -> list[str]:
    """Sources of outlier images with at least one committed shard, `dog` first."""
    folders = sorted(run.store.glob("*"), key=lambda folder: (folder.name != "dog", folder.name))
    folders = [folder for folder in folders if folder.name != ID_CONTROL and not holds_latents(folder)]
    return [folder.name for folder in folders if committed_shards(folder)]


def build_gallery(run: Run, id_examples: dict[str, np.ndarray], distances: dict[tuple[str, str], float]) -> Gallery:
    """``id_examples``: uint8 (k, H, W, 3) by class name; ``distances``: q by class name and anchor."""
    sources = painted_sources(run)
    found, problems = _sampled(run, sources)
    names = list(dict.fromkeys([*id_examples, *(name for _, outlier in found if (name := outlier.class_name))]))
    shown = names[:CLASSES_AT_MOST]
    if len(names) > len(shown):
        problems.append(f"{len(shown)} of {len(names)} classes are shown, to keep this page small.")
    id_pictures = {name: _twins(name, id_examples[name][:TWINS]) for name in shown if name in id_examples}
    _fit_twins(id_pictures)
    spent = sum(len(picture.uri) for pictures in id_pictures.values() for picture in pictures)
    groups, unreadable, left_out = _grouped(found, set(shown), distances, GALLERY_CHARACTERS - spent)
    if unreadable:
        problems.append(f"{unreadable} stored images could not be decoded and are left out; run `dogfast shards verify`.")
    if left_out:
        problems.append(f"{left_out} further sampled outliers are left out to keep this page small.")
    classes = (ClassGallery(name, tuple(id_pictures.get(name, ())), tuple(groups.get(name, ()))) for name in shown)
    return Gallery(tuple(one for one in classes if one.twins or one.groups), tuple(sources), tuple(problems), len(names))


def _sampled(run: Run, sources: list[str]) -> tuple[list[tuple[str, Outlier]], list[str]]:
    """Outliers with their source, and what went wrong; a damaged shard costs its images, not the report."""
    found: list[tuple[str, Outlier]] = []
    problems = []
    for source in sources:
        before = len(found)
        try:
            for outlier in sample_outliers(run.outliers(source), PER_ANCHOR, SAMPLES_AT_MOST // len(sources)):
                found.append((source, outlier))
        except DataError as error:
            problems.append(f"{error}.".replace(f"{run.root}/", ""))
        else:
            if len(found) == before:
                problems.append(f"Source `{source}` holds no images that can be read.")
    return found, problems


def _twins(class_name: str, images: np.ndarray) -> list[Picture]:
    assert images.dtype == np.uint8 and images.ndim == 4 and images.shape[-1] == 3, (images.dtype, images.shape)
    return [Picture(data_uri(Image.fromarray(image)), f"ID training image of {class_name[:100]}") for image in images]


def _fit_twins(pictures: dict[str, list[Picture]]) -> None:
    """Take the last image from every class until ID images keep to their share of the page."""
    while sum(len(p.uri) for row in pictures.values() for p in row) > TWIN_SHARE * GALLERY_CHARACTERS:
        for row in pictures.values():
            del row[-1:]


def _grouped(
    found: list[tuple[str, Outlier]], shown: set[str], distances: dict[tuple[str, str], float], characters: int
) -> tuple[dict[str, list[AnchorGroup]], int, int]:
    """Groups by class, nearest anchor first; every anchor gets its first image before any gets a second."""
    turns: Counter[tuple[str, str, str]] = Counter()
    queue = []
    for position, (source, outlier) in enumerate(found):
        key = (source, outlier.class_name, outlier.anchor)
        if outlier.class_name in shown:
            queue.append((turns[key], position, key, outlier))
            turns[key] += 1
    anchors = Counter(class_name for _, class_name, _ in turns)
    queue = [
        entry
        for entry in queue
        if entry[0] < (PER_ANCHOR if anchors[entry[2][1]] <= MANY_ANCHORS or not entry[2][2] else PER_ANCHOR_OF_MANY)
    ]
    groups: dict[tuple[str, str, str], AnchorGroup] = {}
    unreadable = left_out = 0
    for _, _, key, outlier in sorted(queue, key=lambda item: item[:2]):
        if characters <= 0:
            left_out += 1
            continue
        image = decoded(outlier.image)
        if image is None:
            unreadable += 1
            continue
        picture = Picture(data_uri(image), f"{(outlier.prompt or outlier.anchor)[:300]} · seed {outlier.seed}")
        characters -= len(picture.uri) + 300
        distance = distances.get(key[1:]) if key[0] == "dog" else None
        groups.setdefault(key, AnchorGroup(key[0], outlier.anchor, distance)).pictures.append(picture)
    by_class: dict[str, list[AnchorGroup]] = defaultdict(list)
    unknown = float("inf")
    for key in sorted(
        groups, key=lambda k: (k[0] != "dog", k[0], unknown if groups[k].distance is None else groups[k].distance, k[2])
    ):
        by_class[key[1]].append(groups[key])
    return by_class, unreadable, left_out


# --- the PNG file -----------------------------------------------------------------------------------------------
def contact_sheet(classes: tuple[ClassGallery, ...]) -> bytes:
    """A row a class: ID images, a gap, and an outlier of each of its groups."""
    classes = classes[:SHEET_ROWS]
    sheet = np.full((len(classes) * SHEET_PX, (SHEET_TWINS + 1 + SHEET_OUTLIERS) * SHEET_PX, 3), 255, np.uint8)
    for row, one in enumerate(classes):
        twins, outliers = one.twins[:SHEET_TWINS], [group.pictures[0] for group in one.groups[:SHEET_OUTLIERS]]
        for column, picture in [*enumerate(twins), *enumerate(outliers, SHEET_TWINS + 1)]:
            inner = SHEET_PX - 2
            y, x = row * SHEET_PX + 1, column * SHEET_PX + 1
            image = Image.open(io.BytesIO(base64.b64decode(picture.uri.partition(",")[2]))).resize((inner, inner))
            sheet[y : y + inner, x : x + inner] = np.asarray(image)
    figure = new_figure(9, 0.7 + 0.6 * len(classes))
    axes = figure.subplots()
    axes.imshow(sheet, interpolation="nearest")
    axes.set_yticks(
        [(row + 0.5) * SHEET_PX for row in range(len(classes))], [c.class_name[:24] for c in classes], parse_math=False
    )
    axes.set_xticks(
        [SHEET_TWINS * SHEET_PX / 2, (SHEET_TWINS + 1 + SHEET_OUTLIERS / 2) * SHEET_PX], ["known", "painted outliers"]
    )
    axes.tick_params(length=0, labelsize=8)
    axes.spines[:].set_visible(False)
    return png_bytes(figure)
