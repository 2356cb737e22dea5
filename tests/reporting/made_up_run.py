"""A run folder as the stages leave it, made up of a few numbers and small images."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from dogfast.rounds import write_outcome
from dogfast.run import Run, publish, to_json, write_jsonl

HOSTILE = "<script>alert(1)</script>"
CLASSES = ("circle", "ring", HOSTILE)
DATASETS = (("near", "near", 300), ("noise", "far", 200))
SCORES = ("msp", "energy", "ash-s")
N_ID = 400


def bare_run(root: Path) -> Run:
    run = Run(root)
    publish(run.config_file, '[data]\nclasses = "shapes"\nnote = "<b>&"\n')
    record = {"versions": {"dogfast": "0.1.0", "torch": "2.13"}, "stages": {"plan dog": {"m": 4}}}
    publish(run.root / "run.json", to_json(record))
    return run


def fill(run: Run) -> None:
    add_evaluation(run, "dog", 0.94, {"near": (0.22, 0.95), "noise": (0.30, 0.90)})
    add_evaluation(run, "ce", 0.95, {"near": (0.40, 0.90), "noise": (0.20, 0.96)})
    add_evaluation(run, "oe+noise", 0.95, {"near": (0.46, 0.88), "noise": (0.02, 0.99)})
    add_verdicts(run, "dog", doubt=0.03)
    add_anchors(run)
    add_shard(run, "dog", 0, samples(), seconds=4.0, rank=0, backend="torch", rows=32)
    add_training(run, "dog")


def twins(classes=CLASSES, k: int = 6) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 256, (k, 32, 32, 3), dtype=np.uint8) for name in classes}


def add_evaluation(run: Run, name: str, accuracy: float, by_dataset: dict[str, tuple[float, float]], scores=SCORES) -> None:
    """``by_dataset``: (fpr95, auroc) by OOD set, the same under every score; raw scores have that FPR95, and infinities."""
    known = {dataset: (group, n) for dataset, group, n in DATASETS}
    rows = [
        {"score": score, "dataset": dataset, "group": known.get(dataset, ("far", 100))[0], "fpr95": fpr, "fpr95_ood": 0.5}
        | {"auroc": auroc, "aupr_in": 0.5, "aupr_out": 0.5, "n_id": N_ID, "n_ood": known.get(dataset, ("far", 100))[1]}
        for score in scores
        for dataset, (fpr, auroc) in by_dataset.items()
    ]
    metrics = {"run": "shapes", "name": name, "id_accuracy": accuracy, "rows": rows, "source": "dog"}
    metrics["hyper_parameters"] = {"ash-s": {"name": "percentile", "value": 90, "reason": "chosen on validation"}}
    publish(run.evaluation(name) / "metrics.json", to_json(metrics))
    folder = run.evaluation(name) / "scores"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    for score in scores:
        tensors = {"id": np.sort(rng.normal(5, 1.5, N_ID))}
        tensors |= {d: _unknown(tensors["id"], fpr, known.get(d, ("", 100))[1], rng) for d, (fpr, _) in by_dataset.items()}
        if score == "msp":
            tensors = {key: 1 / (1 + np.exp(-values)) for key, values in tensors.items()}
        else:
            tensors["id"][:3], tensors["id"][-2:] = -np.inf, np.inf
        save_file({key: values.astype(np.float32) for key, values in tensors.items()}, folder / f"{score}.safetensors")


def add_verdicts(run: Run, name: str, doubt: float = 0.05) -> None:
    """Judge ``name`` against `ce`, both evaluated before: a change of more than ``doubt`` is better or worse."""
    before, after = ({(r["score"], r["dataset"]): r["fpr95"] for r in read_rows(run, one)} for one in ("ce", name))
    shared = [place for place in after if place in before]
    rows = [
        {"score": score, "dataset": dataset} | _judged(after[score, dataset] - before[score, dataset], doubt)
        for score, dataset in shared
    ]
    means = []
    for score in dict.fromkeys(score for score, _ in shared):
        of_score = [row for row in rows if row["score"] == score]
        mean = _judged(float(np.mean([row["change"] for row in of_score])), doubt)
        means.append({"score": score, "datasets": [row["dataset"] for row in of_score]} | mean)
    change_metrics(run, name, verdicts={"against": "ce", "rows": rows, "means": means, "not_compared": []})


def _judged(change: float, doubt: float) -> dict[str, object]:
    verdict = "better" if change < -doubt else "worse" if change > doubt else "undecided"
    return {"change": change, "low": change - doubt, "high": change + doubt, "verdict": verdict}


def read_rows(run: Run, name: str) -> list[dict]:
    return json.loads((run.evaluation(name) / "metrics.json").read_text())["rows"]


def change_metrics(run: Run, name: str, **changes: object) -> None:
    path = run.evaluation(name) / "metrics.json"
    publish(path, to_json(json.loads(path.read_text()) | changes))


def add_features(run: Run, name: str, sets: dict[str, int], width: int = 16) -> None:
    """Features of as many images as ``sets`` says, each set about a place of its own."""
    rng = np.random.default_rng(len(name))
    folder = run.evaluation(name) / "features"
    folder.mkdir(parents=True, exist_ok=True)
    for place, (called, n) in enumerate(sets.items()):
        features = (rng.normal(size=(n, width)) + 4 * place).astype(np.float16)
        save_file({"features": features, "logits": features[:, :3].copy()}, folder / f"{quote(called, safe='+')}.safetensors")


def add_training(run: Run, name: str, steps: int = 4) -> None:
    publish(
        run.classifier(name) / "train.json",
        to_json({"history": [{"epoch": 0, "ce": 1.5}, {"epoch": 1, "ce": 0.5}], "seconds": 12.4, "img_per_s": 321.0}),
    )
    rows = [{"step": 50 * n, "epoch": 0, "lr": 0.1, "ce": 2 / n, "oe": 2.5 - 0.1 * n} for n in range(1, steps + 1)]
    write_jsonl(run.classifier(name) / "metrics.jsonl", rows)


def _unknown(id_scores: np.ndarray, fpr95: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """Scores of ``n`` images, a share of ``fpr95`` of them above the threshold that ``id_scores``, sorted, are accepted by."""
    threshold, passes = id_scores[len(id_scores) // 20], round(fpr95 * n)
    return threshold + np.concatenate([rng.uniform(0.1, 2, passes), -rng.uniform(0.1, 4, n - passes)])


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


def add_shard(run: Run, source: str, number: int, members, record: bool = True, **facts: object) -> Path:
    """``members``: (name, bytes) pairs or ready TarInfos without content; ``facts`` go into the record."""
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
        publish(run.outliers(source) / "records" / f"{number:05d}.json", to_json({"samples": len(members) // 2} | facts))
    return path


def add_rounds(run: Run, rounds: int = 2) -> None:
    """A refinement of `dog`: one anchor rises, one is dropped before the second round."""
    shares = {"fooled": 0.5, "like_id": 0.125, "accepted": 0.25, "fpr95": 0.4, "accuracy": 0.9}
    rows = [
        {"round": n, "classifier": "dog" if n == 1 else f"dog~{n}", "images": 40 * n, "new": 40, "dropped": n - 1} | shares
        for n in range(1, rounds + 1)
    ]
    told = {"source": "dog", "rounds": rows, "chosen": rounds, "classifier": rows[-1]["classifier"], "ended": "--rounds 2"}
    publish(run.refined("dog"), to_json(told))
    for n in range(1, rounds + 1):
        conditions = [
            {"condition": k, "cls": 0, "class_name": "ring", "anchor": f"word{k}", "images": 10 * n, "distance": 0.4}
            | {"new": 30 if n > 1 and not k else 5, "fooled": 2, "fooled_in_all": 2, "accepted": 1, "like_id": 0}
            for k in range(3)
        ]
        out = [{"condition": 9, "class_name": HOSTILE, "anchor": HOSTILE, "round": 2, "reason": "CLIP takes 9 of its 9 images"}]
        found = {"round": n, "classifier": "dog", "images": 10, "new": 5, "shards": n, "seconds": 1.0, "bounds": {"ring": 0.3}}
        found |= {"conditions": conditions, "dropped": out if n > 1 else [], "validation": {"fpr95": 0.4, "accuracy": 0.9}}
        write_outcome(run, "dog", n, found | shares)
