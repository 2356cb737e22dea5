"""A folder of several files that is whole or absent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dogfast.errors import EnvironmentFault, UsageError
from dogfast.run import make_folder, sync_folder

Replaceable = Callable[[Path], bool]


@contextmanager
def whole_folder(place: Path, replaceable: Replaceable = lambda folder: False) -> Iterator[Path]:
    """A folder to fill, which stands at ``place`` when all went well; of what failed nothing is left.

    ``place`` may be absent, empty, or ``replaceable``: then it is replaced as a whole. What a killed process left beside it is
    mended first. Raises :class:`UsageError` where something else is there, :class:`EnvironmentFault` where the disk refuses.
    """
    final = place.absolute()
    part, former = (final.with_name(f".{final.name}.{kind}") for kind in ("making", "former"))
    try:
        _settle(final, part, former)
        check_free(place, replaceable)
        make_folder(part)
        yield part
        for folder in (part, *(path for path in part.rglob("*") if path.is_dir())):
            sync_folder(folder)
        if final.exists():
            os.replace(final, former)
        os.replace(part, final)
        sync_folder(final.parent)
    except OSError as error:
        raise EnvironmentFault(
            f"cannot write {place}: {error.strerror or error}; free space or choose another --output"
        ) from error
    finally:
        _settle(final, part, former)


def check_free(place: Path, replaceable: Replaceable = lambda folder: False) -> None:
    """Raise :class:`UsageError` where `whole_folder` would."""
    free = not (place.exists() or place.is_symlink())
    if not free and place.is_dir() and not place.is_symlink():
        free = not any(place.iterdir()) or replaceable(place)
    if not free:
        raise UsageError(f"--output {place} holds something else; choose another, or an empty folder")


def _settle(final: Path, part: Path, former: Path) -> None:
    """Of a folder that was being replaced, one of the two stands, and nothing beside it."""
    if former.exists() and not final.exists():
        os.replace(former, final)
    for leftover in (part, former):
        shutil.rmtree(leftover, ignore_errors=True)
