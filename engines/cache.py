"""Engines and graphs on disk: one folder an entry, named by the digest of all it depends on, whole or absent.

A plan is native code and a graph is a program, so an entry is believed only when this user made it, nobody else can write
to it, and every byte is as its sidecar says. What is not believed is never opened: it is built again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dogfast.errors import DataError, EnvironmentFault
from dogfast.run import digest, file_digest, publish, read_json, sync_folder, to_json

SIDECAR = "sidecar.json"
LOCKS, TIMINGS = ".locks", ".timings"
PARTIAL = ".part-"
KEY_LENGTH = 32
PRIVATE = 0o700
CACHE_VARIABLE = "DOGFAST_ENGINES"

Fields = dict[str, Any]
"""What an entry depends on, in JSON types; its digest is the entry's key."""


class Untrusted(Exception):
    """An entry that must not be opened; the message says why."""


@dataclass(frozen=True)
class Entry:
    """A checked entry: its folder, and the facts its builder left beside it."""

    folder: Path
    fields: Fields
    facts: dict[str, Any]
    files: dict[str, dict[str, Any]]
    """By name: ``sha256`` and ``bytes``."""


def default_folder() -> Path:
    """`$DOGFAST_ENGINES`, else `dogfast/engines` in the user's cache."""
    return Path(os.environ.get(CACHE_VARIABLE) or cache_home() / "engines")


def cache_home() -> Path:
    """`dogfast` in the user's cache."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dogfast"
    except RuntimeError as error:
        raise EnvironmentFault("nobody knows your home folder; set $XDG_CACHE_HOME to a folder for caches") from error


def key_of(fields: Fields) -> str:
    return digest(fields)[:KEY_LENGTH]


class Cache:
    """The entries under ``root``, which is made when the first is built; ``flag`` says in errors where it comes from."""

    def __init__(self, root: Path, flag: str = "--engine-dir"):
        self.root, self.flag = root, flag

    def find(self, fields: Fields) -> Entry | None:
        """The entry of ``fields``, every byte checked; None where there is none. Raises :class:`Untrusted`."""
        folder = self.root / key_of(fields)
        if not os.path.lexists(folder):
            return None
        check_private(self.root, self.flag)
        return _checked(folder, fields)

    def build(self, fields: Fields, make: Callable[[Path], dict[str, Any]], wait: Callable[[], None]) -> Entry:
        """Let ``make`` fill a folder, and publish it; another process that builds the same is waited for instead.

        ``make`` returns the entry's facts; when it raises, nothing is left. ``wait`` is called once before waiting.
        Raises :class:`EnvironmentFault` where the cache cannot be written.
        """
        key = key_of(fields)
        with self._locked(key, wait):
            self._sweep(key)
            if found := self._standing(fields):
                return found
            try:
                return self._made(key, fields, make)
            except OSError as error:
                raise self._unwritable(error) from error

    def restate(self, entry: Entry, facts: dict[str, Any]) -> None:
        """Give ``entry`` other ``facts``. Raises :class:`EnvironmentFault` where the cache cannot be written."""
        key = key_of(entry.fields)
        with self._locked(key, lambda: None):
            try:
                temporary = self.root / f"{PARTIAL}{key}-facts"
                _write_sidecar(temporary, entry.fields, entry.files, facts)
                os.replace(temporary, entry.folder / SIDECAR)
                sync_folder(entry.folder)
            except OSError as error:
                raise self._unwritable(error) from error

    def entries(self) -> Iterator[Path]:
        """Folders that stand under a key, whatever is in them."""
        if self.root.is_dir():
            yield from sorted(path for path in self.root.iterdir() if not path.name.startswith("."))

    def prune(self, is_current: Callable[[Fields], bool]) -> tuple[int, int]:
        """Remove entries that are broken, or whose fields are not current, and what killed builds left: count and bytes.

        An entry that is being built is left alone.
        """
        removed = freed = 0
        if not self.root.exists():
            return 0, 0
        check_private(self.root, self.flag)
        try:
            for folder in (*self.entries(), *sorted(self.root.glob(f"{PARTIAL}*"))):
                key = folder.name.removeprefix(PARTIAL)[:KEY_LENGTH]
                with self._locked(key, None) as held:
                    if held and not (folder.name == key and _is_kept(folder, is_current)):
                        freed += bytes_of(folder)
                        removed += 1
                        _remove(folder)
        except OSError as error:
            raise self._unwritable(error) from error
        return removed, freed

    # -- timings --
    def timings(self, fields: Fields) -> bytes:
        """What builders measured for ``fields`` (a GPU and a version), nothing where it is absent or not this user's."""
        path = self.root / TIMINGS / key_of(fields)
        try:
            check_private(self.root, self.flag)
            _check_own(path, stat.S_ISREG, "regular file")
            return path.read_bytes()
        except (Untrusted, OSError):
            return b""

    def keep_timings(self, fields: Fields, timings: bytes) -> None:
        """Keep ``timings`` for later builds; what cannot be kept is measured again."""
        if timings:
            path = self.root / TIMINGS / key_of(fields)
            with suppress(EnvironmentFault, OSError):
                publish(path, timings)
                path.chmod(0o600)

    # -- building --
    def _made(self, key: str, fields: Fields, make: Callable[[Path], dict[str, Any]]) -> Entry:
        folder = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}{key}-", dir=self.root))
        try:
            facts = make(folder)
            files = {path.name: _described(path) for path in sorted(folder.iterdir())}
            _write_sidecar(folder / SIDECAR, fields, files, facts)
            sync_folder(folder)
            final = self.root / key
            _remove(final)
            os.rename(folder, final)
            sync_folder(self.root)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return Entry(final, fields, facts, files)

    def _standing(self, fields: Fields) -> Entry | None:
        try:
            return self.find(fields)
        except Untrusted:
            return None

    def _sweep(self, key: str) -> None:
        """Under the key's lock, a partial folder of the key belongs to nobody alive."""
        for leftover in self.root.glob(f"{PARTIAL}{key}-*"):
            _remove(leftover)

    @contextmanager
    def _locked(self, key: str, wait: Callable[[], None] | None) -> Iterator[bool]:
        """Hold the lock of one key; where ``wait`` is None it is not waited for, and may not be held."""
        try:
            self.root.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
            check_private(self.root, self.flag)
            (self.root / LOCKS).mkdir(mode=PRIVATE, exist_ok=True)
            lock = FileLock(self.root / LOCKS / f"{key}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                if wait:
                    wait()
                    lock.acquire()
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            yield lock.is_locked
        finally:
            lock.release()

    def _unwritable(self, error: OSError) -> EnvironmentFault:
        return EnvironmentFault(
            f"cannot write {self.root} ({error.strerror or error}); free space, or choose another {self.flag}"
        )


# --- trust ------------------------------------------------------------------------------------------------------
def check_private(root: Path, flag: str = "--engine-dir") -> None:
    """Raise :class:`EnvironmentFault` unless ``root`` is a folder of this user's that no other can write to or read."""
    found = os.lstat(root)
    if not stat.S_ISDIR(found.st_mode):
        raise EnvironmentFault(f"{flag} {root} is not a folder (links are not followed); name a folder of your own")
    if found.st_uid != os.getuid():
        raise EnvironmentFault(f"{flag} {root} belongs to another user, who could put code there; choose another")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise EnvironmentFault(f"{flag} {root} is open to other users, who could put code there; chmod 700 {root}")


def _checked(folder: Path, fields: Fields) -> Entry:
    _check_own(folder, stat.S_ISDIR, "folder")
    _check_own(folder / SIDECAR, stat.S_ISREG, "regular file")
    try:
        sidecar = read_json(folder / SIDECAR)
        known, files, facts = sidecar["fields"], sidecar["files"], sidecar["facts"]
        described = {name: (entry["sha256"], entry["bytes"]) for name, entry in files.items()}
        whole = sidecar["seal"] == digest(known, files, facts)
    except (DataError, KeyError, TypeError, AttributeError) as error:
        raise Untrusted(f"its {SIDECAR} is damaged") from error
    if not whole:
        raise Untrusted(f"its {SIDECAR} was edited")
    if known != fields:
        differing = sorted(name for name in known.keys() | fields.keys() if known.get(name) != fields.get(name))
        raise Untrusted(f"its {SIDECAR} speaks of another engine ({', '.join(differing)})")
    if set(os.listdir(folder)) != {SIDECAR, *described}:
        raise Untrusted(f"its files are not those its {SIDECAR} lists")
    for name, (sha256, size) in described.items():
        _check_own(folder / name, stat.S_ISREG, "regular file")
        if (folder / name).stat().st_size != size or file_digest(folder / name) != sha256:
            raise Untrusted(f"{name} is not as it was built")
    return Entry(folder, fields, facts, files)


def _check_own(path: Path, is_kind: Callable[[int], bool], kind: str) -> None:
    """Raise :class:`Untrusted` unless ``path`` itself (no link) is of the kind and this user's, closed to others' writing."""
    try:
        found = os.lstat(path)
    except OSError as error:
        raise Untrusted(f"{path.name} is missing") from error
    if not is_kind(found.st_mode):
        raise Untrusted(f"{path.name} is no {kind}")
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o022:
        raise Untrusted(f"{path.name} belongs to, or can be written by, another user")


def _is_kept(folder: Path, is_current: Callable[[Fields], bool]) -> bool:
    try:
        fields = read_json(folder / SIDECAR)["fields"]
        _checked(folder, fields)
    except (DataError, KeyError, TypeError, Untrusted):
        return False
    return folder.name == key_of(fields) and is_current(fields)


def _write_sidecar(path: Path, fields: Fields, files: dict[str, Any], facts: dict[str, Any]) -> None:
    """What an entry is, with a digest over all of it: a sidecar is written by us or not believed."""
    seal = digest(fields, files, facts)
    with open(path, "w", encoding="utf-8") as file:
        file.write(to_json({"fields": fields, "files": files, "facts": facts, "seal": seal}))
        file.flush()
        os.fsync(file.fileno())
    os.chmod(path, 0o600)


def _described(path: Path) -> dict[str, Any]:
    """SHA-256 and size of a finished file, which is on the disk when this returns."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        found = hashlib.file_digest(file, "sha256").hexdigest()
    os.chmod(path, 0o600)
    return {"sha256": found, "bytes": path.stat().st_size}


def bytes_of(path: Path) -> int:
    """Bytes of regular files at or below ``path``; links count for nothing."""
    below = path.rglob("*") if path.is_dir() and not path.is_symlink() else ()
    return sum(file.lstat().st_size for file in (path, *below) if stat.S_ISREG(file.lstat().st_mode))


def _remove(path: Path) -> None:
    """A folder, a file or a link itself; nothing where there is nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
