"""What a classifier showed of whole sets, kept as `features/<set>.safetensors`: for scores of others, and for a later evaluation.

A file holds `features` (n, d) and `logits` (n, C); where there are such, `labels` (n,), `rejection` (n,) and, by the magnitude the
images were moved by, `moved.<magnitude>` (n, C). Its metadata say whose features of which images they are; the head is the
classifier's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dogfast.classifiers.evidence import Evidence
from dogfast.detection.measure import Look
from dogfast.errors import DataError
from dogfast.run import digest, publish

KINDS = {"fp32": torch.float32, "fp16": torch.float16}
MOVED = "moved."
FACTS = ("classifier_sha256", "precision", "images_sha256")
"""What the metadata say; features fit where all of it is as wanted."""
OTHER = ("another classifier", "another precision", "other images")


@dataclass(frozen=True, eq=False)
class Subject:
    """A set that is looked at: its name, its images uint8 (n, 3, H, W), n > 0, and its class labels int64 (n,) where it is ID."""

    name: str
    images: Tensor
    labels: Tensor | None = None

    @cached_property
    def sha256(self) -> str:
        """Of shape and pixels."""
        return digest(list(self.images.shape), memoryview(self.images.contiguous().numpy()).cast("B"))


@dataclass(frozen=True)
class Shelf:
    """Where one classifier's features are kept. ``kind`` is of `KINDS`, or "off": nothing is added, but what fits is taken."""

    folder: Path
    kind: str
    classifier_sha256: str
    precision: str
    taken: list[str] = field(default_factory=list)
    """The sets whose features were found here."""
    unfit: dict[str, str] = field(default_factory=dict)
    """By set, why features that are here were not taken."""

    def lend(self, look: Look, subjects: list[Subject], advance: Callable[[int], None]) -> Look:
        """``look``, but features of ``subjects`` are taken from here where they fit, and put here where they are to be kept.

        Only fp32 is taken: then every score is as if the images had been looked at. ``advance`` is told the images taken. The
        result raises :class:`DataError` for a file that is damaged, and where features are too large for fp16.
        """

        blank = look(subjects[0].images[:0])

        def seen(images: Tensor, *magnitudes: float) -> Evidence:
            subject = next((each for each in subjects if each.images is images), None)
            evidence = subject and self._take(subject, magnitudes, blank)
            if evidence:
                advance(len(images))
            found = evidence or look(images, *magnitudes)
            if subject and self.kind != "off" and not (evidence and self.kind == "fp32"):
                save_features(self._file(subject), found, subject.labels, self._facts(subject), self.kind)
            return found

        return seen

    def _take(self, subject: Subject, magnitudes: tuple[float, ...], blank: Evidence) -> Evidence | None:
        path = self._file(subject)
        if not path.exists():
            return None
        tensors, facts = load_features(path)
        wanted = self._facts(subject)
        reasons = [other for name, other in zip(FACTS, OTHER) if facts[name] != wanted[name]]
        if tensors["features"].dtype != torch.float32:
            reasons.append("fp16")
        if not all(f"{MOVED}{magnitude!r}" in tensors for magnitude in magnitudes):
            reasons.append("not moved as odin needs it")
        if reasons:
            self.unfit[subject.name] = reasons[0]
            return None
        for name, values in _of_images(blank).items():
            if name not in tensors or tensors[name].shape != (len(subject.images), *values.shape[1:]):
                raise DataError(f"{path} does not hold {name} of this classifier; remove it and run `dogfast evaluate` again")
        self.taken.append(subject.name)
        moved = {magnitude: tensors[f"{MOVED}{magnitude!r}"] for magnitude in magnitudes}
        return replace(
            blank,
            logits=tensors["logits"],
            features=tensors["features"],
            rejection=tensors.get("rejection"),
            moved=moved or None,
        )

    def _file(self, subject: Subject) -> Path:
        """No name leads out of the folder: whatever is special in a path is written as %XX."""
        return self.folder / f"{quote(subject.name, safe='+')}.safetensors"

    def _facts(self, subject: Subject) -> dict[str, str]:
        return dict(zip(FACTS, (self.classifier_sha256, self.precision, subject.sha256)))


# --- files ------------------------------------------------------------------------------------------------------
def save_features(path: Path, evidence: Evidence, labels: Tensor | None, facts: dict[str, str], kind: str) -> None:
    """Publish ``evidence`` of one set as ``kind`` of `KINDS`, with ``facts`` of `FACTS`; DataError where it does not fit into fp16."""
    tensors = {name: values.to(KINDS[kind]).contiguous() for name, values in _of_images(evidence).items()}
    for name, values in _of_images(evidence).items():
        if (tensors[name].isinf() & values.isfinite()).any():
            raise DataError(f"{path.name}: {name} are too large for fp16; use --keep-features fp32")
    if labels is not None:
        tensors["labels"] = labels.contiguous()
    publish(path, safetensors.torch.save(tensors, facts))


def load_features(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and facts that `save_features` wrote; :class:`DataError` when the file is missing or something else."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} cannot be read ({error}); remove it and run `dogfast evaluate` again") from error
    if reason := _fault(tensors, facts):
        raise DataError(f"{path} does not hold features ({reason}); remove it and run `dogfast evaluate` again")
    return tensors, facts


def _of_images(evidence: Evidence) -> dict[str, Tensor]:
    """The tensors of ``evidence`` that have a row an image, by their names in a file."""
    tensors = {"features": evidence.features, "logits": evidence.logits}
    if evidence.rejection is not None:
        tensors["rejection"] = evidence.rejection
    return tensors | {f"{MOVED}{magnitude!r}": logits for magnitude, logits in (evidence.moved or {}).items()}


def _fault(tensors: dict[str, Tensor], facts: dict[str, str]) -> str:
    """What is wrong with the content of a file; empty where nothing is."""
    if missing := [name for name in FACTS if name not in facts] or [n for n in ("features", "logits") if n not in tensors]:
        return f"it has no {missing[0]}"
    rows, kind, logits = tensors["features"].shape[:1], tensors["features"].dtype, tensors["logits"].shape
    known = {"features": (kind, 2), "logits": (kind, 2), "rejection": (kind, 1), "labels": (torch.int64, 1)}
    for name, values in tensors.items():
        expected = (kind, 2) if name.startswith(MOVED) else known.get(name)
        fits = kind in KINDS.values() and (values.dtype, values.ndim) == expected and values.shape[:1] == rows
        if not fits or (name.startswith(MOVED) and values.shape != logits):
            return f"{name!r} is {values.dtype} {tuple(values.shape)}"
    return ""
