"""What is to be compared: which tables, in which seeds, with which auxiliary images, along which axes."""

from __future__ import annotations

from dataclasses import dataclass

from dogfast.config import RunConfig
from dogfast.config.detection import SCORES
from dogfast.config.option import one_of, require
from dogfast.config.resolve import parse_assignment
from dogfast.errors import UsageError
from dogfast.workflows.comparison.rows import TABLES
from dogfast.workflows.comparison.settings import IMAGENET, own_seed

AXES = {
    "m": ("synthesis", "m"),
    "k": ("concepts", "top_k"),
    "eta": ("concepts", "eta"),
    "lambda": ("concepts", "anchor_lambda"),
    "quantile": ("concepts", "anchor_quantile"),
}
"""What ``--sweep`` varies; lambda as a distance, or as a quantile of the distances."""

Value = int | float
Sweep = dict[str, tuple[Value, ...]]
"""The values of every axis, ascending."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Nothing means: the run's own seed; the tables of the classes, or none where something is swept; the auxiliary images that
    belong to the classes; every score that a row needs. ``jobs`` classifiers are trained and evaluated at a time."""

    seeds: tuple[int, ...] = ()
    tables: tuple[int, ...] = ()
    auxiliary: str = ""
    sweep: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()
    jobs: int = 1

    def __post_init__(self) -> None:
        require(all(0 <= seed < 2**53 for seed in self.seeds), "--seeds must lie between 0 and 2^53")
        require(len(set(self.seeds)) == len(self.seeds), "--seeds names a seed twice")
        for table in self.tables:
            one_of(str(table), tuple(map(str, TABLES)), "--tables")
        require(len(set(self.tables)) == len(self.tables), "--tables names a table twice")
        require(
            self.auxiliary != "dog",
            "--auxiliary dog: the tables hold DOG's outliers against auxiliary images; name others, or leave it out",
        )
        for score in self.scores:
            one_of(score, SCORES, "--scores")
        require(self.jobs >= 1, f"--jobs {self.jobs} must be at least 1")
        self._typed()

    def swept(self, config: RunConfig) -> Sweep:
        """The axes of ``--sweep``; :class:`UsageError` for a value that the axis's field does not take."""
        found = {}
        for axis, texts in self._typed().items():
            found[axis] = tuple(sorted(_parsed(config, axis, text) for text in texts))
            require(len(set(found[axis])) == len(found[axis]), f"--sweep {axis} has a value twice")
        return found

    def _typed(self) -> dict[str, list[str]]:
        """The values of every axis as they were typed; :class:`UsageError` for what is no axis, or has no values."""
        found: dict[str, list[str]] = {}
        for entry in self.sweep:
            axis = ""
            for part in entry.split(","):
                name, equals, value = part.partition("=")
                if equals:
                    axis = name.strip()
                    one_of(axis, tuple(AXES), "--sweep")
                    require(axis not in found, f"--sweep names {axis} twice")
                    found[axis] = []
                text = (value if equals else name).strip()
                require(bool(axis and text), f"--sweep {entry!r} is not AXIS=VALUE,VALUE; axes: {', '.join(AXES)}")
                found[axis].append(text)
        return found

    def tables_of(self, config: RunConfig) -> tuple[int, ...]:
        """The tables that are asked for; Table 3 is of ImageNet's classes, which the others leave to it."""
        imagenet = config.data.classes in IMAGENET
        require(
            imagenet or 3 not in self.tables,
            f"--tables 3 is of ImageNet's classes; with --classes {config.data.classes} Table 1 holds the same methods",
        )
        if self.tables or self.sweep:
            return self.tables
        return tuple(table for table in TABLES if table != (1 if imagenet else 3))

    def seeds_of(self, config: RunConfig) -> tuple[int, ...]:
        return self.seeds or (own_seed(config),)


def at(config: RunConfig, axis: str, value: Value) -> RunConfig:
    """``config`` with one swept value."""
    section, field = AXES[axis]
    return config.with_values({section: {field: value}}, f"--sweep {axis}={value}")


def _parsed(config: RunConfig, axis: str, text: str) -> Value:
    section, field = AXES[axis]
    try:
        return getattr(getattr(config.with_values(parse_assignment(f"{section}.{field}={text}"), axis), section), field)
    except UsageError as error:
        raise UsageError(f"--sweep {axis}={text}: {error}") from error


def whole_numbers(text: str, flag: str) -> tuple[int, ...]:
    """`0,1,2` as numbers; :class:`UsageError` naming ``flag`` for anything else."""
    parts = [part.strip() for part in text.split(",")] if text else []
    require(
        all(part.isascii() and part.isdigit() and len(part) < 17 for part in parts),
        f"{flag} {text!r} is no list of whole numbers, as 0,1,2",
    )
    return tuple(map(int, parts))
