"""The t-SNE maps: the same for the same features, bounded, and refused for what is no table of features."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from dogfast.errors import DataError
from dogfast.reporting import embedding
from dogfast.reporting.embedding import POINTS_AT_MOST, SHARES, build_embeddings, evenly, into_frame, tsne
from dogfast.reporting.inputs import read_evaluations
from dogfast.reporting.pair import pair_of
from tests.reporting.made_up_run import add_features


def embeddings_of(run):
    evaluations = read_evaluations(run)
    return build_embeddings(evaluations, pair_of(evaluations))


def test_the_same_features_give_the_same_map():
    features = np.random.default_rng(0).normal(size=(60, 60)).astype(np.float32)
    places = tsne(features)
    assert np.array_equal(places, tsne(features.copy()))
    assert places.shape == (60, 2) and places.min() >= 0 and places.max() <= 100


def test_clusters_stay_together():
    rng = np.random.default_rng(1)
    features = np.concatenate([rng.normal(size=(30, 8)), rng.normal(size=(30, 8)) + 20])
    a, b = tsne(features)[:30], tsne(features)[30:]
    within = np.linalg.norm(a - a.mean(0), axis=1).max()
    assert np.linalg.norm(a[:, None] - b[None], axis=2).min() > 0 and np.linalg.norm(a.mean(0) - b.mean(0)) > within


def test_four_images_are_enough_and_one_place_is_no_fault():
    assert tsne(np.eye(4)).shape == (4, 2)
    assert np.isfinite(into_frame(np.zeros((3, 2)))).all()


def test_rows_are_evenly_spaced_and_bounded():
    assert evenly(10, 4).tolist() == [0, 3, 6, 9]
    assert evenly(3, 100).tolist() == [0, 1, 2]
    assert len(evenly(50_000, 700)) == 700
    assert sum(SHARES.values()) == pytest.approx(1), "so no map has more than its points"


def test_maps_before_and_after(full_run):
    sets = {"id": 30, "near": 12, "noise": 8, "id+painted": 6, "ood+validation": 5, "id+train": 40}
    add_features(full_run, "ce", sets)
    add_features(full_run, "dog", {"id": 30, "near": 12})
    ce, dog = embeddings_of(full_run)
    assert [(cloud.name, cloud.kind, len(cloud.places)) for cloud in ce.clouds] == [
        ("known", "id", 30),
        ("known, painted", "painted", 6),
        ("validation outliers", "outliers", 5),
        ("near", "ood", 12),
        ("noise", "ood", 8),
    ]
    assert (ce.classifier, ce.n, dog.classifier, dog.n) == ("ce", 61, "dog", 42)
    assert all(cloud.path.count("M") == len(cloud.places) for cloud in ce.clouds)


def test_names_of_sets_are_unquoted(full_run):
    path = full_run.evaluation("ce") / "metrics.json"
    path.write_text(path.read_text().replace('"near"', '"a/b ü"'))
    add_features(full_run, "ce", {"id": 5, "a/b ü": 4})
    assert [cloud.name for cloud in embeddings_of(full_run)[0].clouds] == ["known", "a/b ü"]


def test_many_images_are_bounded(full_run, monkeypatch):
    monkeypatch.setattr(embedding, "POINTS_AT_MOST", 40)
    add_features(full_run, "ce", {"id": 300, "near": 200, "noise": 200, "ood+validation": 100})
    (one,) = embeddings_of(full_run)
    assert [len(cloud.places) for cloud in one.clouds] == [14, 8, 7, 7] and one.n <= 40 < POINTS_AT_MOST


@pytest.mark.parametrize("sets", [{}, {"id": 9}, {"near": 9}, {"id": 9, "stranger": 9}])
def test_no_map_without_id_and_others(full_run, sets):
    add_features(full_run, "dog", sets)
    assert embeddings_of(full_run) == []


def test_too_few_images(full_run):
    add_features(full_run, "ce", {"id": 2, "near": 1})
    assert embeddings_of(full_run)[0].clouds == ()


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"logits": np.zeros((3, 2), np.float16)}, "damaged"),
        ({"features": np.zeros(3, np.float16)}, "damaged"),
        ({"features": np.zeros((0, 4), np.float16)}, "damaged"),
        ({"features": np.full((3, 16), np.nan, np.float16)}, "not finite"),
        ({"features": np.zeros((3, 5), np.float16)}, "several widths"),
    ],
)
def test_what_is_no_table_of_features_is_named(full_run, tensors, says):
    add_features(full_run, "ce", {"id": 9, "near": 9})
    save_file(tensors, full_run.evaluation("ce") / "features" / "near.safetensors")
    with pytest.raises(DataError, match=says):
        embeddings_of(full_run)


def test_a_file_of_something_else_is_named(full_run):
    add_features(full_run, "ce", {"id": 9, "near": 9})
    (full_run.evaluation("ce") / "features" / "near.safetensors").write_bytes(b"no tensors at all")
    with pytest.raises(DataError, match=r"near\.safetensors is damaged"):
        embeddings_of(full_run)
