"""Looking after the shards of a run: list, verify, repair, export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dogfast.config import RunConfig
from dogfast.config.option import require
from dogfast.config.synthesis import fields_of
from dogfast.errors import DataError
from dogfast.events import Events
from dogfast.folders import check_free, whole_folder
from dogfast.run import Run, read_json
from dogfast.shards.format import ID_CONTROL
from dogfast.shards.imagefolder import write_image_folder
from dogfast.shards.reader import count_samples, holds_latents, read_records, record_paths, sources_at
from dogfast.shards.verify import Fault, verify
from dogfast.store import Place
from dogfast.synthesis.job import open_job, read_job_conditions
from dogfast.synthesis.plan import planned_a_class, read_segments
from dogfast.synthesis.stage import claim, generate


def sources_of(run: Run, named: str) -> list[str]:
    """The source that was named, else all that the run has shards of; :class:`DataError` where there are none."""
    known = sources_at(run.store)
    if named and named not in known:
        raise DataError(f"--source {named!r}: {run.root} has no shards of it; it has {', '.join(known) or 'none at all'}")
    if not known:
        raise DataError(f"{run.root} has no shards; `dogfast generate` paints them")
    return [named] if named else known


def list_shards(run: Run, source: str) -> dict[str, Any]:
    """Per source: its kind, shards, images or latents, bytes, what failed, and which engines painted them."""
    found = {}
    for name in sources_of(run, source):
        records = read_records(run.outliers(name))
        found[name] = {
            "kind": fields_of(name)["output_kind"],
            "shards": len(records),
            "planned_shards": sum(segment.shards for segment in read_segments(run.plan(name))),
            **{key: sum(record.get(key, 0) for record in records) for key in ("samples", "bytes", "failed", "resampled")},
            "engines": sorted(
                {f"{r.get('backend', '?')} {r.get('precision', '?')}, {r.get('rows', '?')} rows" for r in records}
            ),
        }
    return {"run": str(run.root), "sources": found}


def export_images(run: Run, source: str, folder: Path | None, events: Events) -> dict[str, Any]:
    """The outliers of ``source`` as plain image files (`write_image_folder`) in ``folder``, RUN/export/SOURCE where it is None."""
    name = outliers_of(run, source)
    place = folder or run.root / "export" / name
    count = count_samples(run.outliers(name))
    with whole_folder(place) as part, events.progress(f"export {name}", count) as advance:
        listed = write_image_folder(run.outliers(name), part, advance)
    return {"run": str(run.root), "source": name, "output": str(place), "images": sum(listed.values()), "lists": listed}


def plan_export_images(run: Run, source: str, folder: Path | None) -> dict[str, Any]:
    name = outliers_of(run, source)
    place = folder or run.root / "export" / name
    check_free(place)
    records = read_records(run.outliers(name))
    count, size = (sum(record[key] for record in records) for key in ("samples", "bytes"))
    return {"source": name, "output": str(place), "images": count, "bytes": size}


def outliers_of(run: Run, named: str) -> str:
    """The source of images that was named, or the only one; :class:`UsageError` where there are several, or it has no outliers."""
    require(named != ID_CONTROL, f"--source {ID_CONTROL}: images of the ID classes are no outliers; name another")
    found = [name for name in sources_of(run, named) if name != ID_CONTROL and (named or not holds_latents(run.outliers(name)))]
    require(len(found) == 1, f"--source: {run.root} has outliers of {', '.join(found) or 'no source'}; name one")
    return found[0]


def verify_shards(run: Run, source: str, events: Events) -> dict[str, Any]:
    """Every fault by source, and how many shards were read."""
    faults, count = {}, 0
    for name in sources_of(run, source):
        found = _verified(run.outliers(name), name, events)
        faults[name] = [{"record": fault.record.name, "reason": fault.reason} for fault in found if fault]
        count += len(found)
    return {"run": str(run.root), "shards": count, "faults": faults}


def repair_shards(config: RunConfig, run: Run, events: Events, source: str) -> dict[str, Any]:
    """Take damaged shards away and paint them anew; says of each whether its pixels are the recorded ones again."""
    repaired = {}
    for name in sources_of(run, source):
        folder = run.outliers(name)
        faults = [fault for fault in _verified(folder, name, events) if fault]
        if faults:
            planned = _as_planned(config, run, name)
            claim(open_job(planned, run))
            _take_away(faults)
            generate(planned, run, events)
        repaired[name] = [_outcome(fault) for fault in faults]
    return {"run": str(run.root), "repaired": repaired}


def _verified(folder: Place, name: str, events: Events) -> list[Fault | None]:
    found = []
    with events.progress(f"verify {name}", len(record_paths(folder)), "shards") as advance:
        for fault in verify(folder):
            found.append(fault)
            advance(1)
    return found


def _take_away(faults: list[Fault]) -> None:
    """The record first: without it a shard does not count, whatever happens next."""
    for fault in faults:
        fault.record.unlink(missing_ok=True)
        fault.tar.unlink(missing_ok=True)


def _as_planned(config: RunConfig, run: Run, name: str) -> RunConfig:
    """``config`` for just what is planned: repairing paints nothing more."""
    named = config.with_values({"synthesis": fields_of(name)}, "repair")
    class_of = [condition["cls"] for condition in read_job_conditions(named.synthesis, run)]
    planned = planned_a_class(read_segments(run.plan(name)), class_of)
    return named.with_values({"synthesis": {"m": max(1, planned)}}, "repair")


def _outcome(fault: Fault) -> dict[str, Any]:
    said = {"record": fault.record.name, "reason": fault.reason}
    if not fault.record.exists():
        return said | {"pixels": "not planned, so not painted"}
    same = read_json(fault.record)["pixel_sha256"] == fault.pixel_sha256
    return said | {"pixels": "the recorded ones" if same else "other ones" if fault.pixel_sha256 else "not known before"}
