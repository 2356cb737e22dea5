"""A run folder as the stages leave it, made up of a few numbers and small images."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from dogfast.run import Run, publish, to_json, write_jsonl

HOSTILE = "<script>alert(1)</script>"
CLASSES = ("circle", "ring", HOSTILE)
DATASETS = (("near", "near", 300), ("noise", "far", 200))
SCORES = ("msp", "energy", "ash-s")
N_ID = 400


def twins(classes=CLASSES, k: int = 6) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 256, (k, 32, 32, 3), dtype=np.uint8) for name in classes}


def add_evaluation(run: Run, name: str, accuracy: float, by_dataset: dict[str, tuple[float, float]], scores=SCORES) -> None:
    """``by_dataset``: (fpr95, auroc) by OOD set, the same under every score; raw scores hold infinities."""
    known = {dataset: (group, n) for dataset, group, n in DATASETS}
    rows = [
        {"score": score, "dataset": dataset, "group": known.get(dataset, ("far", 100))[0], "fpr95": fpr, "fpr95_ood": 0.5}
        | {"auroc": auroc, "aupr_in": 0.5, "aupr_out": 0.5, "n_id": N_ID, "n_ood": known.get(dataset, ("far", 100))[1]}
        for score in scores
        for dataset, (fpr, auroc) in by_dataset.items()
    ]
    metrics = {"run": "shapes", "name": name, "id_accuracy": accuracy, "rows": rows}
    metrics |= {"hyper_parameters": {"ash-s": {"name": "percentile", "value": 90, "reason": "chosen on validation"}}}
    metrics |= {"objective": name.split("+")[0], "source": "dog"}
    publish(run.evaluation(name) / "metrics.json", to_json(metrics))
    folder = run.evaluation(name) / "scores"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    for score in scores:
        tensors = {"id": rng.normal(5, 1.5, N_ID), **{d: rng.normal(2, 1.5, 100) for d in by_dataset}}
        if score == "msp":
            tensors = {key: 1 / (1 + np.exp(-values)) for key, values in tensors.items()}
        else:
            tensors["id"][:3], tensors["id"][3:5] = np.inf, -np.inf
        save_file({key: values.astype(np.float32) for key, values in tensors.items()}, folder / f"{score}.safetensors")


def add_anchors(run: Run, classes=CLASSES) -> None:
    anchors, dropped = [], []
    for owner, name in enumerate(classes):
        shared = {"owner": owner, "class_name": name, "text_cosine": 0.5, "bound": 0.30, "limit": 0.42}
        anchors += [shared | {"word": f"word{k}", "distance": 0.31 + 0.02 * k, "kept": True} for k in range(5)]
        dropped.append(shared | {"word": "tooclose", "distance": 0.25, "kept": False, "reason": "nearer than the class's name"})
        dropped.append(shared | {"word": "<i>far</i>", "distance": 0.5, "kept": False, "reason": "farther than lambda"})
        dropped.append(shared | {"word": "synonym", "distance": None, "kept": False, "reason": "names an ID class"})
    write_jsonl(run.anchors, anchors)
    write_jsonl(run.candidates, anchors + dropped)
    points = [("class", name, name) for name in classes] + [("pseudo-word", name, name) for name in classes]
    points += [("anchor" if row["kept"] else "candidate", row["word"], row["class_name"]) for row in anchors + dropped]
    spread = [{"x": round(np.cos(n), 4), "y": round(np.sin(3 * n), 4)} for n in range(len(points))]
    named = [{"kind": kind, "name": name, "class_name": owner} for kind, name, owner in points]
    write_jsonl(run.text_map, [label | place for label, place in zip(named, spread)])


def png(seed: int = 0, side: int = 32) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def samples(classes=CLASSES, per_anchor: int = 8, n_anchors: int = 5, make: Callable[[int], bytes] = png):
    """Members of a shard, index-major: (name, bytes) pairs."""
    members, index = [], 0
    for _ in range(per_anchor):
        for anchor in range(n_anchors):
            for cls, name in enumerate(classes):
                key = f"{0:05d}{index:04d}"
                facts = {"key": key, "cls": cls, "class_name": name, "strategy": "dog", "anchor": f"word{anchor}"}
                facts |= {"prompt": f'a photo of a "word{anchor}" <b>', "seed": index, "status": "ok"}
                members += [(f"{key}.png", make(index)), (f"{key}.json", json.dumps(facts).encode())]
                index += 1
    return members


def add_shard(run: Run, source: str, number: int, members, record: bool = True) -> Path:
    """``members``: (name, bytes) pairs or ready TarInfos without content."""
    path = run.outliers(source) / f"train-{number:05d}.tar"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    if record:
        publish(run.outliers(source) / "records" / f"{number:05d}.json", to_json({"samples": len(members) // 2}))
    return path
