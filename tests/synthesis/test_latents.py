"""`generate --output-kind latent` with a fake generator: latents in the place of images, and those of the ID images beside them."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import dogfast.run
import dogfast.synthesis.encoding as encoding
from dogfast.data.images import ImageSet
from dogfast.diffusion.autoencoder import to_signed
from dogfast.errors import DataError, EnvironmentFault, RunMismatch, UsageError
from dogfast.events import Events
from dogfast.run import Run, launch, write_jsonl
from dogfast.shards.format import Facts
from dogfast.shards.id_latents import read_id_latents
from dogfast.shards.latents import load_latents
from dogfast.shards.reader import load_outliers, read_records
from dogfast.synthesis.stage import generate

fakes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "fakes.py")))
STRATEGIES = ("dog", "id-control", "boundary", "textual-near-ood")
IMAGES = 70
"""More than the VAE encodes at once."""


def id_images(seed=0, count=IMAGES):
    pixels = torch.randint(0, 256, (count, 3, fakes.SIDE, fakes.SIDE), generator=torch.Generator().manual_seed(seed))
    return ImageSet(pixels.to(torch.uint8), torch.zeros(count), tuple(f"id/{n}" for n in range(count)), fakes.CLASSES)


@pytest.fixture(autouse=True)
def id_data(monkeypatch):
    """The ID images, which a test may exchange."""
    data = SimpleNamespace(train=id_images())
    monkeypatch.setattr(encoding, "load_id", lambda config: data)
    return data


def call(root, networks=None, **synthesis):
    config = fakes.config(**{"output_kind": "latent"} | synthesis)
    with fakes.installed(**networks or {}), launch(root, config.to_toml()) as run:
        if not run.conditions.exists():
            write_jsonl(run.conditions, [c | {"strategy": strategy} for strategy in STRATEGIES for c in fakes.conditions()])
        return generate(config, run, Events())


def shards(root, source="dog-latent"):
    return fakes.tars(root / "outliers" / source)


# --- outliers ---------------------------------------------------------------------------------------------------
def test_a_run_of_latents_is_a_source_of_its_own_beside_that_of_images(tmp_path):
    calls = []
    result = call(tmp_path / "run", {"calls": calls})
    assert (result["source"], result["outliers"], result["shards"], result["failed"]) == ("dog-latent", 9, 3, 0)
    assert {what for what, _ in calls} == {"denoise", "encode"}, "nothing is decoded"
    alone = shards(tmp_path / "run")
    call(tmp_path / "run", output_kind="image")
    assert shards(tmp_path / "run") == alone and len(shards(tmp_path / "run", "dog")) == 3
    folders = {str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").glob("*/*/") if path.is_dir()}
    assert folders == {"outliers/dog", "outliers/dog-latent", "plan/dog", "plan/dog-latent"}


def test_facts_have_the_keys_and_types_of_images_and_the_latents_own_size(tmp_path):
    call(tmp_path / "run", decoder="tiny", resolution=32)
    loaded = load_latents(tmp_path / "run" / "outliers" / "dog-latent")
    assert loaded.values.shape == (9, 4, 16, 16) and loaded.values.dtype == torch.float16 and len(loaded) == 9
    for facts in loaded.facts:
        assert {name: type(value).__name__ for name, value in facts.items()} == Facts.__annotations__
        assert (facts["width"], facts["height"], facts["resize"], facts["strategy"]) == (16, 16, "none", "dog")
    known = json.loads((tmp_path / "run" / "run.json").read_text())["stages"]["synthesis/dog-latent"]
    assert (known["decoder"], known["output_kind"], known["tiny_decoder"]) == ("none", "latent", "")
    assert {record["kind"] for record in read_records(tmp_path / "run" / "outliers" / "dog-latent")} == {"latent"}


def test_latents_decode_to_the_images_of_the_same_plan(tmp_path):
    call(tmp_path / "run")
    call(tmp_path / "run", output_kind="image")
    latents = load_latents(tmp_path / "run" / "outliers" / "dog-latent")
    images = load_outliers(tmp_path / "run" / "outliers" / "dog", fakes.SIDE)
    assert [f["seed"] for f in latents.facts] == [f["seed"] for f in images.facts]
    decoded = ((fakes.networks().decode(latents.values.float()) + 1) * 127.5).round()
    assert (decoded - images.images.float()).abs().max() <= 1


def test_bytes_depend_on_neither_rows_nor_interruption_and_m_appends(tmp_path):
    for rows in (1, 3, 7):
        call(tmp_path / str(rows), rows=rows)
    first, *others = (shards(tmp_path / str(rows)) for rows in (1, 3, 7))
    assert len(first) == 3 and all(other == first for other in others)
    (tmp_path / "1" / "outliers" / "dog-latent" / "records" / "00001.json").unlink()
    assert call(tmp_path / "1")["resumed_shards"] == 2 and shards(tmp_path / "1") == first
    assert call(tmp_path / "1", m=5)["outliers"] == 15
    assert first.items() <= shards(tmp_path / "1").items()


def test_other_fields_are_refused(tmp_path):
    call(tmp_path / "run")
    with pytest.raises(RunMismatch, match=r"'synthesis/dog-latent' .*seed: was 0, now 1"):
        call(tmp_path / "run", seed=1)


def test_what_looks_at_pictures_is_refused_before_anything_is_planned(tmp_path):
    with pytest.raises(UsageError, match=r"--reject-id looks at pictures.*--no-reject-id"):
        call(tmp_path / "run", reject_id=True)
    assert not (tmp_path / "run" / "plan").exists()


def test_the_card_says_what_latents_are(tmp_path):
    call(tmp_path / "run")
    text = (tmp_path / "run" / "outliers" / "dog-latent" / "README.md").read_text()
    assert "9 latents in 3 tars" in text and "`<key>.npy`, float16" in text and "scaling_factor" in text
    assert "`<key>.png`" not in text


# --- the ID images' latents -------------------------------------------------------------------------------------
def stored(root):
    from safetensors import safe_open

    with safe_open(root / "latents" / "id.safetensors", "pt") as file:
        return file.get_tensor("latents"), file.metadata()


def encodings(root, **synthesis):
    """Rows the VAE encoded in one call of `generate`."""
    calls = []
    call(root, {"calls": calls}, **synthesis)
    return sum(rows for what, rows in calls if what == "encode")


def test_id_images_are_encoded_as_starts_are_and_only_once(tmp_path, id_data):
    assert encodings(tmp_path / "run") == IMAGES
    latents, marks = stored(tmp_path / "run")
    expected = fakes.networks().encode(to_signed(id_data.train.images, fakes.SIDE))
    assert torch.equal(latents, expected.half())
    assert marks == {"id_data": id_data.train.digest, "model_revision": "r0"}
    before = (tmp_path / "run" / "latents" / "id.safetensors").stat()
    assert encodings(tmp_path / "run") == 0 and encodings(tmp_path / "run", m=4) == 0
    assert (tmp_path / "run" / "latents" / "id.safetensors").stat() == before
    assert not fakes.leftovers(tmp_path / "run")


def test_latents_that_fit_no_more_are_made_anew(tmp_path, id_data, monkeypatch):
    call(tmp_path / "run")
    path = tmp_path / "run" / "latents" / "id.safetensors"
    id_data.train = id_images(seed=1)
    assert encodings(tmp_path / "run") == IMAGES, "other pixels"
    id_data.train = id_images(seed=1, count=9)
    assert encodings(tmp_path / "run") == 9, "fewer images"
    for damage in (b"", b"torn", path.read_bytes()[:-8]):
        path.write_bytes(damage)
        assert encodings(tmp_path / "run") == 9, "a damaged file"
    assert encodings(tmp_path / "run", strategy="id-control") == 0, "every source of latents has the same"
    assert encodings(tmp_path / "run", strategy="boundary", resolution=32) == 9, "another size"
    monkeypatch.setattr(fakes.FakePipeline, "revision", "r1")
    assert encodings(tmp_path / "run", strategy="textual-near-ood", resolution=32) == 9, "another generator"
    assert encodings(tmp_path / "run", output_kind="image") == 0, "images need none"


def test_a_death_while_they_are_written_leaves_no_half(tmp_path, monkeypatch):
    class Died(BaseException):
        pass

    def replace(source, target, plain=dogfast.run.os.replace):
        if target.name == "id.safetensors":
            raise Died
        plain(source, target)

    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(dogfast.run.os, "replace", replace)
        call(tmp_path / "run")
    assert len(shards(tmp_path / "run")) == 3 and not (tmp_path / "run" / "latents" / "id.safetensors").exists()
    assert encodings(tmp_path / "run") == IMAGES and not fakes.leftovers(tmp_path / "run")


def test_latents_that_are_not_finite_are_told_and_not_written(tmp_path, monkeypatch):
    endless = lambda images: torch.full((len(images), 4, 8, 8), 1e6)  # noqa: E731
    monkeypatch.setattr(encoding, "encode_pictures", lambda networks, pixels, side_px: endless(pixels))
    with pytest.raises(EnvironmentFault, match="not finite; use --precision fp32"):
        call(tmp_path / "run")
    assert not (tmp_path / "run" / "latents" / "id.safetensors").exists()
    assert len(read_records(tmp_path / "run" / "outliers" / "dog-latent")) == 3


# --- reading them -----------------------------------------------------------------------------------------------
def test_they_are_read_beside_the_painted_ones(tmp_path, id_data):
    call(tmp_path / "run")
    run = Run(tmp_path / "run")
    painted = load_latents(run.outliers("dog-latent"))
    assert torch.equal(read_id_latents(run, id_data.train, painted), stored(tmp_path / "run")[0])
    others = {
        "other images": (id_images(seed=1), painted),
        "fewer": (id_images(count=5), painted),
        "another generator": (
            id_data.train,
            type(painted)(painted.values, [f | {"model_revision": "r1"} for f in painted.facts]),
        ),
        "another size": (id_data.train, type(painted)(painted.values[..., :4], painted.facts)),
    }
    for images, latents in others.values():
        with pytest.raises(DataError, match=r"id\.safetensors is of other ID images.*makes it anew"):
            read_id_latents(run, images, latents)


@pytest.mark.parametrize("content", [None, b"", b"\xff" * 8, b"\x02\0\0\0\0\0\0\0{}", b'\x08\0\0\0\0\0\0\0{"a":{}}'])
def test_what_is_no_such_file_is_named(tmp_path, id_data, content):
    call(tmp_path / "run")
    run = Run(tmp_path / "run")
    run.id_latents.unlink()
    if content is not None:
        run.id_latents.write_bytes(content)
    with pytest.raises(DataError, match=r"id\.safetensors is missing or damaged"):
        read_id_latents(run, id_data.train, load_latents(run.outliers("dog-latent")))
