"""A folder of several files that is whole or absent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dogfast.errors import EnvironmentFault, UsageError
from dogfast.run import make_folder, sync_folder


@contextmanager
def whole_folder(place: Path, mark: str) -> Iterator[Path]:
    """A folder to fill, which stands at ``place`` when all went well; of what failed nothing is left.

    ``place`` may be absent, empty, or a folder that was made so before, known by its file ``mark``: that one is replaced.
    Raises :class:`UsageError` where it is anything else, :class:`EnvironmentFault` where the disk refuses.
    """
    check_free(place, mark)
    hidden = place.absolute()
    part, former = (hidden.with_name(f".{hidden.name}.{kind}-{os.getpid()}") for kind in ("part", "former"))
    try:
        make_folder(part)
        yield part
        for folder in (part, *(path for path in part.rglob("*") if path.is_dir())):
            sync_folder(folder)
        if hidden.exists():
            os.replace(hidden, former)
        os.replace(part, hidden)
        sync_folder(hidden.parent)
    except OSError as error:
        raise EnvironmentFault(
            f"cannot write {place}: {error.strerror or error}; free space or choose another --output"
        ) from error
    finally:
        if former.exists() and not hidden.exists():
            os.replace(former, hidden)
        for leftover in (part, former):
            shutil.rmtree(leftover, ignore_errors=True)


def check_free(place: Path, mark: str) -> None:
    """Raise :class:`UsageError` where `whole_folder` would."""
    taken = place.is_symlink() or place.exists()
    if taken and not (place.is_dir() and not place.is_symlink() and (not any(place.iterdir()) or (place / mark).is_file())):
        raise UsageError(f"--output {place} holds something else; choose another, or an empty folder")
