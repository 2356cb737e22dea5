"""The run folder: where everything lies, how it is written so that a crash cannot tear it, and whom it belongs to."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from dogfast.errors import DataError, DogfastError, EnvironmentFault, RunMismatch, UsageError
from dogfast.store import Place, Say, StorePath, open_place

if TYPE_CHECKING:
    from torch import Tensor

RUN_FILE, STORE_FILE, METRICS_FILE = "run.json", "store.txt", "metrics.json"
RUNS = Path("runs")
LOCK_FILE, OWNER_FILE = ".lock", ".owner"
TRAINING = ".training"
"""What a run is held for by whoever trains in it: `train --follow` goes on beside the launch that paints."""
LAUNCH_FILES = {LOCK_FILE, OWNER_FILE, TRAINING + LOCK_FILE, TRAINING + OWNER_FILE}
BARE_FILES = LAUNCH_FILES | {RUN_FILE, "run.toml", "events"}
"""All that a run holds before its first stage leaves something."""


# --- files that are whole or absent -----------------------------------------------------------------------------
def publish(path: Place, content: bytes | str | Iterable[bytes]) -> None:
    """Write ``path`` so that it is whole or absent after a crash: temporary name, fsync, rename, fsync of the folder.

    ``content`` may come in parts, each made when it is its turn. At a store it is put whole and read back.
    """
    parts = [content.encode()] if isinstance(content, str) else [content] if isinstance(content, bytes) else content
    if isinstance(path, StorePath):
        return path.put(b"".join(parts))
    temporary = path.with_name(f".{path.name}.part-{os.getpid()}")
    try:
        make_folder(path.parent)
        with open(temporary, "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        reason = error.strerror or error
        raise EnvironmentFault(f"cannot write {path}: {reason}; free space or choose another --output") from error


def make_folder(folder: Path) -> None:
    """Make ``folder`` and what is missing above it; a power loss takes none of them away again."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in reversed(made):
        sync_folder(place.parent)


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep_partial(folder: Path) -> None:
    """Remove what a killed writer left under temporary names anywhere below ``folder``."""
    for leftover in folder.rglob(".*.part-*"):
        leftover.unlink(missing_ok=True)


def to_json(value: Any) -> str:
    """Readable JSON with stable order of keys."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def read_json(path: Place) -> Any:
    """Parse ``path``; :class:`DataError` names it when it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error
    except (ValueError, RecursionError, OSError) as error:
        raise DataError(f"{path} is not readable JSON ({error}); remove it and run the command again") from error


def has_fields(found: Any, kinds: dict[str, Any]) -> bool:
    """Whether ``found``, as read from JSON, is an object that has every field of ``kinds``, of its type; true, false, infinity and NaN are no numbers."""
    return isinstance(found, dict) and all(_is_a(found.get(name), kind) for name, kind in kinds.items())


def _is_a(value: Any, kind: Any) -> bool:
    return (
        isinstance(value, kind) and not isinstance(value, bool) and not (isinstance(value, float) and not math.isfinite(value))
    )


def write_jsonl(path: Path, rows: list[dict]) -> None:
    publish(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_jsonl(path: Path) -> list[dict]:
    """One object a line, blank lines aside; :class:`DataError` names file and line of what is not."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error
    except (ValueError, OSError) as error:
        raise DataError(f"{path} is not readable text ({error}); remove it and run the command again") from error
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: expected an object, found {type(row).__name__}")
        rows.append(row)
    return rows


def read_table(path: Path) -> Tensor:
    """The tensor `rows` (n, D) of ``path``; :class:`DataError` where it is missing or no such table."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        rows = load_file(path)["rows"]
    except (SafetensorError, OSError, KeyError) as error:
        raise DataError(f"{path} is missing or no table of rows ({error}); run `dogfast anchors` again") from error
    if rows.ndim != 2 or not rows.isfinite().all():
        raise DataError(f"{path} is no table of finite rows; run `dogfast anchors` again")
    return rows


def digest(*parts: Any) -> str:
    """SHA-256 of the canonical JSON of ``parts`` (bytes are hashed as they are), in hexadecimal."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part if isinstance(part, bytes | memoryview) else json.dumps(part, sort_keys=True).encode())
        total.update(b"\x1e")
    return total.hexdigest()


def file_digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- the folder -------------------------------------------------------------------------------------------------
class Run:
    """One experiment's folder. Paths only; every stage reads and writes its own files through them.

    ``say`` is told when the store of its outliers has to be asked again.
    """

    def __init__(self, root: Path, say: Say = lambda text: None):
        self.root, self.say = root, say
        self.config_file = root / "run.toml"
        self.remembers = ""
        """What `run.toml` says once a launch has ended well."""
        self.concepts = root / "concepts"
        self.pseudo_words = self.concepts / "pseudo_words.safetensors"
        self.candidates = self.concepts / "candidates.jsonl"
        self.anchors = self.concepts / "anchors.jsonl"
        self.conditions = self.concepts / "conditions.jsonl"
        self.text_map = self.concepts / "map.jsonl"
        self.id_latents = root / "latents" / "id.safetensors"
        self.report = root / "report" / "index.html"

    def table(self, name: str) -> Path:
        return self.concepts / "tables" / f"{name}.safetensors"

    def plan(self, source: str) -> Path:
        return self.root / "plan" / source

    def round(self, source: str, number: int) -> Path:
        """What `refine` planned and found in one of its rounds."""
        return self.root / "rounds" / source / str(number)

    def refined(self, source: str) -> Path:
        """What `refine` told last."""
        return self.root / "rounds" / source / "refined.json"

    @property
    def store_file(self) -> Path:
        """Names the place of the outliers where that is not beside it; written by the first `generate --store`."""
        return self.root / "outliers" / STORE_FILE

    @property
    def store(self) -> Place:
        """Where every source has its folder. Raises DataError where `store_file` names no such place."""
        try:
            return open_place(self.store_file.read_text(encoding="utf-8").strip(), str(self.store_file), self.say)
        except FileNotFoundError:
            return self.store_file.parent
        except (UsageError, ValueError, OSError) as error:
            raise DataError(f"{self.store_file} names no place of outliers ({error})") from error

    def outliers(self, source: str) -> Place:
        return self.store / source

    def classifier(self, name: str) -> Path:
        return self.root / "classifiers" / name

    def evaluation(self, name: str) -> Path:
        return self.root / "evaluation" / name

    def metrics(self, name: str) -> Path:
        """What the evaluation of classifier ``name`` found."""
        return self.evaluation(name) / METRICS_FILE

    def detector(self, name: str, score: str) -> Path:
        """The detector of classifier ``name`` by ``score``."""
        return self.evaluation(name) / "detectors" / score

    def events(self, process: int | str = 0) -> Path:
        """The diary of a process: its number among those of a launch, or the classifier that it trains."""
        return self.root / "events" / f"{process}.jsonl"

    @property
    def state(self) -> dict[str, Any]:
        """What `run.json` says: dogfast's version and, per stage, the fields and inputs it was run with."""
        try:
            state = read_json(self.root / RUN_FILE)
        except DataError:
            state = None
        stages = state.get("stages") if isinstance(state, dict) else None
        if not isinstance(stages, dict) or not all(isinstance(fields, dict) for fields in stages.values()):
            raise DataError(f"{self.root / RUN_FILE} is not a run record; name another run or folder")
        return state

    def claim(self, stage: str, fields: dict[str, Any], has_results: bool) -> None:
        """Bind ``stage`` to ``fields`` (its configuration and the digests of what it reads).

        Raises :class:`RunMismatch` that lists the differing fields when the stage ``has_results`` of others; a stage that
        left none may be tried again with anything.
        """
        state = self.state
        fields = json.loads(json.dumps(fields))
        known = state["stages"].get(stage)
        if has_results and known is not None:
            refuse_difference(f"{self.root}: stage '{stage}'", known, fields)
        elif known != fields:
            state["stages"][stage] = fields
            publish(self.root / RUN_FILE, to_json(state))


def refuse_difference(what: str, before: dict[str, Any], now: dict[str, Any], remedy: str = "choose another --output") -> None:
    """Raise :class:`RunMismatch` listing each field of ``before`` that ``now`` does not repeat, and the ``remedy``."""
    differing = [
        f"{key}: was {before.get(key, 'absent')!r}, now {now.get(key, 'absent')!r}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if differing:
        raise RunMismatch(
            f"{what} was made with another configuration ({'; '.join(differing)}); repeat the former values, or {remedy}"
        )


@contextmanager
def launch(root: Path, config_toml: str) -> Iterator[Run]:
    """The run at ``root`` for one launch, made when the folder is absent or empty.

    A new run whose first stage fails before it leaves anything is removed again. Raises :class:`RunMismatch` when the
    folder holds something else or another process has the run, :class:`DataError` when its `run.json` is broken.
    """
    require_run_place(root)
    bare = [folder for folder in (root, *root.parents) if not folder.exists()]
    with exclusive(root):
        _sweep_unless_training(root)
        run, fresh = Run(root), not is_run(root)
        if fresh:
            publish(root / RUN_FILE, to_json({"stages": {}, "versions": versions()}))
            publish(run.config_file, config_toml)
        stages, run.remembers = run.state["stages"], config_toml
        try:
            yield run
            publish(run.config_file, run.remembers)
        except DogfastError:
            if fresh and run.state["stages"] == stages and set(os.listdir(root)) <= BARE_FILES:
                _remove_bare(root, bare)
            raise


def require_run_place(root: Path) -> None:
    """Raise :class:`RunMismatch` where ``root`` is neither a run, an empty folder nor a new name, :class:`DataError` for a broken run."""
    if is_run(root):
        _ = Run(root).state
    elif root.exists() and (not root.is_dir() or not all(map(_is_of_launch, os.listdir(root)))):
        raise RunMismatch(f"{root} exists and is not a dogfast run; choose another --output or an empty folder")


def _sweep_unless_training(root: Path) -> None:
    """What a training beside this launch writes has such names too, for a moment."""
    if not (root / f"{TRAINING}{LOCK_FILE}").exists():
        return sweep_partial(root)
    with suppress(RunMismatch), exclusive(root, TRAINING):
        sweep_partial(root)


def _is_of_launch(name: str) -> bool:
    """Whether a launch that was killed before its `run.json` stood may have left ``name``."""
    return name in LAUNCH_FILES or name.startswith(f".{RUN_FILE}.part-")


def _remove_bare(root: Path, made: list[Path]) -> None:
    """Take away a run without results, then the folders ``made`` for it as far as they are empty; nothing else."""
    shutil.rmtree(root / "events", ignore_errors=True)
    for name in BARE_FILES - {"events"}:
        (root / name).unlink(missing_ok=True)
    with suppress(OSError):
        for folder in made:
            folder.rmdir()


def open_run(root: Path) -> Run:
    """The existing run at ``root``; :class:`RunMismatch` when there is none."""
    if not root.exists():
        raise RunMismatch(f"{root} does not exist; name an existing run, or make one with `dogfast generate --output {root}`")
    if not is_run(root):
        raise RunMismatch(
            f"{root} is not a dogfast run (it has no {RUN_FILE}); name a folder made by `dogfast generate` or `dogfast train`"
        )
    return Run(root)


def is_run(root: Path) -> bool:
    return (root / RUN_FILE).is_file()


def default_place(classes: str) -> Path:
    """`runs/<classes>`; a folder or tar of images gives its own name."""
    return RUNS / (Path(classes).resolve().name if os.sep in classes or classes in (".", "..") else classes)


def newest_run(parent: Path) -> Path | None:
    """The run under ``parent`` whose record changed last."""
    records = sorted(parent.glob(f"*/{RUN_FILE}"), key=lambda path: path.stat().st_mtime)
    return records[-1].parent if records else None


@contextmanager
def beside(root: Path, config_toml: str) -> Iterator[Run]:
    """The existing run at ``root`` for a launch that leaves it to another: nothing is held, swept or remembered."""
    yield open_run(root)


@contextmanager
def exclusive(root: Path, purpose: str = "") -> Iterator[None]:
    """Hold the run, for one launch or `TRAINING`; :class:`RunMismatch` names the process that has it.

    The lock dies with its process.
    """
    lock_file, owner_file = (root / f"{purpose}{name}" for name in (LOCK_FILE, OWNER_FILE))
    try:
        make_folder(root)
        lock = FileLock(lock_file, timeout=0)
        lock.acquire()
    except Timeout:
        raise RunMismatch(f"{root} is in use by {_owner(owner_file)}; wait for it, or choose another --output") from None
    except OSError as error:
        raise EnvironmentFault(f"cannot write in {root}: {error.strerror}; choose another --output") from error
    try:
        with suppress(OSError):
            owner_file.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
        yield
    finally:
        with suppress(OSError):
            owner_file.unlink()
        lock.release()


def _owner(owner_file: Path) -> str:
    """Who says to hold the run; the file comes and goes while it is read."""
    try:
        return owner_file.read_text().strip() or "another process"
    except (OSError, ValueError):
        return "another process"


def versions() -> dict[str, str]:
    """Versions of what decides a run's results, for its records."""
    from importlib.metadata import version

    return {name: version(name) for name in ("dogfast", "torch", "diffusers", "transformers", "numpy", "pillow")}
