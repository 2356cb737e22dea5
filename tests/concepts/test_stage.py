"""From images and names to anchors on disk, on an untrained generator: Eq. 4 in real networks, files, resuming, refusals."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import dogfast.concepts.inversion as inversion
import dogfast.concepts.pseudo_words as pseudo_words
import dogfast.concepts.stage as stage
import dogfast.engines.table as table
from dogfast.concepts.anchors import FEWEST_ANCHORS
from dogfast.concepts.embeddings import Embedder, without_padding
from dogfast.concepts.inversion import invert
from dogfast.concepts.stage import find_anchors
from dogfast.concepts.strategies import STRATEGIES
from dogfast.config import RunConfig
from dogfast.config.model import ModelConfig
from dogfast.data import shapes
from dogfast.data.catalogue import load_id
from dogfast.data.images import ImageSet
from dogfast.diffusion.load import Pipeline
from dogfast.diffusion.prompts import encode_prompts, initial_rows, token_table, tokenize
from dogfast.engines.opening import open_networks
from dogfast.errors import DataError, RunMismatch
from dogfast.events import Events
from dogfast.run import launch, read_jsonl

CLASSES = len(shapes.ID_WORDS)
QUIET = Events()


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def config(random_pipeline):
    """Margin -2 and few candidates: an untrained CLIP puts all words at one place, nearest to some one class."""
    return RunConfig().with_values(
        {
            "data": {"classes": "shapes", "id_images": 120},
            "model": {"model": str(random_pipeline), "backend": "torch", "device": "cpu", "precision": "fp32"},
            "concepts": {"inversion_steps": 3, "inversion_batch": 8, "inversion_images": 4, "top_k": 5, "margin": -2.0},
        },
        "test",
    )


def torch_networks(pipeline):
    return open_networks(pipeline, ModelConfig(backend="torch", device="cpu", precision="fp32"), QUIET)


def changed(config, **fields):
    return config.with_values({"concepts": fields}, "test")


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def anchors_of(config, root, events=QUIET):
    with launch(root, config.to_toml()) as run:
        return run, find_anchors(config, run, events)


# --- Eq. 4 in real networks -------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def pipeline(random_pipeline):
    return Pipeline(ModelConfig(), str(random_pipeline))


def batch(count=6, classes=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    latents, noise = torch.randn(2, count, 4, 8, 8, generator=generator)
    return torch.tensor([0, 2, 0, 1, 2, 2])[:count], latents, torch.tensor([5, 100, 400, 600, 900, 999])[:count], noise


def eq4(pipeline, classes=4, precision="fp32"):
    return pseudo_words.noise_loss(RunConfig(), pipeline, "cpu", precision, classes)


def some_rows(pipeline, classes=4):
    return initial_rows(pipeline.tokenizer, token_table(pipeline.text_encoder), shapes.ID_WORDS[:classes])


def test_the_loss_is_eq_4_of_the_plain_prompt(pipeline):
    """At the class words' own embeddings, pseudo-words are those words, so that nothing of ours is in the reference."""
    labels, latents, timesteps, noise = batch()
    ids = tokenize(pipeline.tokenizer, [f"a photo of a {shapes.ID_WORDS[y]}" for y in labels])
    alpha = pipeline.alphas_cumprod[timesteps].float()[:, None, None, None]
    with torch.no_grad():
        text = pipeline.text_encoder(ids).last_hidden_state
        predicted = pipeline.unet(alpha.sqrt() * latents + (1 - alpha).sqrt() * noise, timesteps, text).sample
        expected = (predicted - noise).square().mean()
        found = eq4(pipeline)(some_rows(pipeline), labels, latents, timesteps, noise)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_the_shared_gradient_is_that_of_every_class_alone(pipeline):
    loss, rows = eq4(pipeline), some_rows(pipeline).requires_grad_(True)
    drawn = batch()
    (together,) = torch.autograd.grad(loss(rows, *drawn), rows)
    assert not together[3].any()
    for y in range(3):
        mine = drawn[0] == y
        alone_rows = some_rows(pipeline)
        alone_rows[[other for other in range(4) if other != y]] = 7.0  # other classes' rows do not matter
        alone_rows.requires_grad_(True)
        (alone,) = torch.autograd.grad(loss(alone_rows, *(part[mine] for part in drawn)), alone_rows)
        assert together[y].abs().max() > 0
        torch.testing.assert_close(together[y], alone[y] * mine.sum() / 6, rtol=1e-3, atol=1e-7)


def test_bf16_gradients_point_the_same_way(pipeline):
    rows = some_rows(pipeline).requires_grad_(True)
    found = [torch.autograd.grad(eq4(pipeline, precision=p)(rows, *batch()), rows)[0][:3] for p in ("fp32", "bf16", "fp16")]
    assert torch.nn.functional.cosine_similarity(found[0], found[1]).min() > 0.95
    # Without loss scaling fp16 gradients underflow: that precision means fp32 here.
    assert torch.equal(found[0], found[2])
    assert all(g.dtype == torch.float32 for g in found)


def test_recomputing_activations_changes_no_gradient(pipeline, monkeypatch):
    rows = some_rows(pipeline).requires_grad_(True)
    plain = torch.autograd.grad(eq4(pipeline)(rows, *batch()), rows)[0]
    recomputed = []
    original = torch.utils.checkpoint.checkpoint
    monkeypatch.setattr(torch.utils.checkpoint, "checkpoint", lambda *a, **k: recomputed.append(1) or original(*a, **k))
    monkeypatch.setattr(pseudo_words, "RECOMPUTE_FROM", 8)
    torch.testing.assert_close(torch.autograd.grad(eq4(pipeline)(rows, *batch()), rows)[0], plain, rtol=1e-3, atol=1e-8)
    assert recomputed
    assert not pipeline.unet.is_gradient_checkpointing


def test_only_the_classes_of_a_batch_are_encoded(pipeline, monkeypatch):
    encoded = []
    original = pseudo_words.encode_prompts
    monkeypatch.setattr(
        pseudo_words, "encode_prompts", lambda e, p, ids, end: encoded.append(len(ids)) or original(e, p, ids, end)
    )
    with torch.no_grad():
        eq4(pipeline)(some_rows(pipeline), *batch())
    assert encoded == [3]


def test_the_pipelines_unet_stays_as_loaded(pipeline):
    eq4(pipeline, precision="bf16")
    assert {p.dtype for p in pipeline.unet.parameters()} == {torch.float32}


def test_learning_lowers_the_loss_in_real_networks(pipeline):
    generator = torch.Generator().manual_seed(0)
    latents, labels = torch.randn(24, 4, 8, 8, generator=generator), torch.arange(24) % 4
    start = some_rows(pipeline)
    found = invert(eq4(pipeline), start, latents, labels, 1000, 40, 8, 0.2, 0)
    assert found.loss_after < found.loss_before
    assert all(not torch.equal(a, b) for a, b in zip(found.rows, start))


def test_latents_do_not_depend_on_how_many_are_encoded_together(pipeline, monkeypatch):
    pixels = torch.randint(0, 256, (5, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    images = ImageSet(pixels, torch.tensor([0, 1, 0, 1, 0]), tuple("abcde"), ("one", "two"))
    config = RunConfig().with_values({"concepts": {"inversion_images": 2}}, "test")

    def encoded():
        return pseudo_words.class_latents(config, images, pipeline, torch_networks(pipeline))

    whole, labels = encoded()
    assert whole.shape == (4, 4, 8, 8) and not whole.requires_grad and labels.tolist() == [0, 0, 1, 1]
    for at_once in (1, 2 * 32 * 32):
        monkeypatch.setattr(table, "PIXELS_AT_ONCE", at_once)
        torch.testing.assert_close(encoded()[0], whole, rtol=1e-4, atol=1e-5)


def test_words_are_embedded_as_their_full_prompts(pipeline):
    words = ("star", "zebra crossing", "a word that is much too long for sixteen tokens of any text encoder")
    embedder = Embedder(pipeline, torch_networks(pipeline), "a photo of a {}", QUIET)
    ids = tokenize(pipeline.tokenizer, [f"a photo of a {word}" for word in words])
    with torch.no_grad():
        expected = encode_prompts(pipeline.text_encoder, pipeline.text_projection, ids, pipeline.tokenizer.eos_token_id)[1]
    found = embedder.words(words)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    alone = torch.cat([embedder.words((word,)) for word in words])
    torch.testing.assert_close(alone, expected, rtol=1e-4, atol=1e-5)


def test_padding_is_left_away_and_nothing_else(pipeline):
    ids = tokenize(pipeline.tokenizer, ["star", "a photo of a star"])
    end = pipeline.tokenizer.eos_token_id
    cut = without_padding(ids, end)
    assert cut.shape == (2, 7) and torch.equal(cut, ids[:, :7]) and (cut == end).any(1).all()
    full = tokenize(pipeline.tokenizer, ["star " * 40])
    assert torch.equal(without_padding(full, end), full)


# --- the whole stage --------------------------------------------------------------------------------------------
def test_the_stage_writes_four_files_that_agree(config, tmp_path):
    said = []
    events = Events(lambda event, fields: said.append(fields["text"]) if event == "note" else None)
    run, result = anchors_of(config, tmp_path / "run", events)
    candidates, anchors, conditions = (read_jsonl(path) for path in (run.candidates, run.anchors, run.conditions))
    rows = load_file(run.pseudo_words)["rows"]
    assert rows.shape == (CLASSES, 32) and rows.dtype == torch.float32 and rows.isfinite().all()

    assert result["resumed"] is False and result["run"] == str(run.root)
    assert (result["anchors"], result["candidates"]) == (len(anchors), len(candidates))
    assert result["vocabulary"] == len(shapes.VOCABULARY) and result["inversion"]["steps"] == 3
    json.dumps(result)

    assert anchors == [row for row in candidates if row["kept"]]
    vocabulary = sorted(shapes.VOCABULARY)
    by_owner = {}
    for row in candidates:
        assert row["word"] == vocabulary[row.get("word_index", vocabulary.index(row["word"]))]
        assert row["class_name"] == shapes.ID_WORDS[row["owner"]] and -1 <= row["text_cosine"] <= 1
        assert row["kept"] == (row["reason"] == "") == (row["topped_up"] or row["bound"] <= row["distance"] <= row["limit"])
        by_owner.setdefault(row["owner"], []).append(row)
    assert len({(row["owner"], row["word"]) for row in candidates}) == len(candidates)
    for rows_of_one in by_owner.values():
        distances = [row["distance"] for row in rows_of_one]
        assert distances == sorted(distances)
        assert len({(row["bound"], row["limit"]) for row in rows_of_one}) == 1
    painted = [c for c in conditions if c["strategy"] == "dog"]
    assert [(c["cls"], c["class_name"], c["anchor"]) for c in painted] == [
        (a["owner"], a["class_name"], a["word"]) for a in anchors
    ]
    assert [c["strategy"] for c in conditions] == sorted((c["strategy"] for c in conditions), key=list(STRATEGIES).index)
    assert {c["strategy"] for c in conditions} == set(STRATEGIES)
    assert [c["text"] for c in painted] == [[[f"a photo of a {a['word']}", 1.0]] for a in anchors]
    assert any(sentence.startswith("generator ") for sentence in said)
    assert any("plain minimum" in sentence for sentence in said)


def reference_verdicts(config, pipeline, rows):
    """Eq. 5 and 6 by loops over single pairs in float64, from the learned rows."""
    data, words = load_id(config.data), sorted(shapes.VOCABULARY)
    encoder, table = pipeline.text_encoder, token_table(pipeline.text_encoder)
    networks = torch_networks(pipeline)

    def unit(values):
        values = values.double().numpy()
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    def text(prompts):
        return unit(networks.encode_text(tokenize(pipeline.tokenizer, prompts))[1])

    pseudo = []
    with torch.no_grad():
        for row, name in zip(rows, data.class_names):
            (token,) = pipeline.tokenizer(name, add_special_tokens=False)["input_ids"]
            kept = table[token].clone()
            table[token] = row
            ids = tokenize(pipeline.tokenizer, [f"a photo of a {name}"])
            pseudo.append(encode_prompts(encoder, pipeline.text_projection, ids, pipeline.tokenizer.eos_token_id)[1])
            table[token] = kept
    vocabulary, names = text([f"a photo of a {w}" for w in words]), text([f"a photo of a {n}" for n in data.class_names])
    images = unit(networks.encode_image(data.train.images))
    cosines = unit(torch.cat(pseudo)) @ vocabulary.T
    owners = {}
    bounds = []
    for y in range(CLASSES):
        own = images[data.train.labels.numpy() == y]
        rank = max(1, -(-len(own) * 5 // 100)) - 1
        bounds.append(np.sort(1 - names[y] @ own.T)[rank] + config.concepts.margin)
        for w in np.argsort(-cosines[y])[: config.concepts.top_k]:
            q = np.sort(1 - vocabulary[w] @ own.T)[rank]
            if w not in owners or q < owners[w][1]:
                owners[int(w)] = (y, q)
    return {words[w]: (y, q, bounds[y]) for w, (y, q) in owners.items()}


def test_owners_and_distances_are_those_of_plain_loops(config, tmp_path, random_pipeline):
    run, _ = anchors_of(config, tmp_path / "run")
    fresh = Pipeline(ModelConfig(), str(random_pipeline))
    expected = reference_verdicts(config, fresh, load_file(run.pseudo_words)["rows"])
    owned = set()
    for row in read_jsonl(run.candidates):
        owner, distance, bound = expected[row["word"]]
        if row["owner"] == owner:
            owned.add(row["word"])
            assert (row["distance"], row["bound"]) == pytest.approx((distance, bound), abs=2e-6)
        else:
            assert row["topped_up"] and row["distance"] >= distance - 2e-6, "borrowed from its owner"
    assert owned == expected.keys()


def test_a_second_call_resumes_and_does_no_work(config, tmp_path, monkeypatch):
    run, first = anchors_of(config, tmp_path / "run")
    before = contents(run.concepts)

    def worked(*args, **kwargs):
        raise AssertionError("work was repeated")

    for name in ("invert_classes", "_search", "load_vocabulary", "open_networks"):
        monkeypatch.setattr(stage, name, worked)
    _, again = anchors_of(config, tmp_path / "run")
    assert again == {"run": str(run.root), "anchors": first["anchors"], "resumed": True}
    assert before == contents(run.concepts)


def test_the_same_configuration_gives_the_same_bytes(config, tmp_path):
    one, two = (anchors_of(config, tmp_path / name)[0] for name in ("one", "two"))
    assert contents(one.concepts) == contents(two.concepts)


@pytest.mark.parametrize(
    ("section", "fields"),
    [
        ("concepts", {"top_k": 7}),
        ("concepts", {"concepts_seed": 1}),
        ("concepts", {"exclude_words": ["wave"]}),
        ("data", {"id_images": 160}),
        ("model", {"precision": "bf16"}),
    ],
)
def test_other_fields_are_refused_by_name(config, tmp_path, section, fields):
    anchors_of(config, tmp_path / "run")
    with pytest.raises(RunMismatch) as fault:
        anchors_of(config.with_values({section: fields}, "test"), tmp_path / "run")
    assert next(iter(fields)) in str(fault.value) and fault.value.exit_code == 6


def test_what_is_no_part_of_the_result_may_change(config, tmp_path):
    anchors_of(config, tmp_path / "run")
    other = config.with_values({"model": {"device": "auto", "offline": True}, "synthesis": {"m": 3}}, "test")
    assert anchors_of(other, tmp_path / "run")[1]["resumed"]


def test_other_weights_under_the_same_name_are_refused(config, tmp_path, pipeline_copy):
    config = config.with_values({"model": {"model": str(pipeline_copy)}}, "test")
    anchors_of(config, tmp_path / "run")
    path = pipeline_copy / "scheduler" / "scheduler_config.json"
    path.write_text(path.read_text().replace("0.012", "0.02"))
    with pytest.raises(RunMismatch, match="model_revision"):
        anchors_of(config, tmp_path / "run")


def test_an_edited_vocabulary_file_is_another_input(config, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("\n".join(shapes.VOCABULARY))
    config = changed(config, vocabulary=str(words))
    anchors_of(config, tmp_path / "run")
    assert anchors_of(config, tmp_path / "run")[1]["resumed"]
    words.write_text("\n".join(shapes.VOCABULARY[1:]))
    with pytest.raises(RunMismatch, match="vocabulary_file"):
        anchors_of(config, tmp_path / "run")


def test_a_killed_stage_starts_again(config, tmp_path):
    run, first = anchors_of(config, tmp_path / "run")
    conditions = run.conditions.read_bytes()
    run.conditions.unlink()
    _, again = anchors_of(changed(config, concepts_seed=0), tmp_path / "run")
    assert again["resumed"] is False and again["anchors"] == first["anchors"] and run.conditions.read_bytes() == conditions


def test_a_class_without_anchor_is_named_and_nothing_counts_as_done(config, tmp_path):
    with pytest.raises(DataError, match=r"no anchor was found for 'circle'.*--vocabulary.*--top-k.*--margin") as fault:
        anchors_of(changed(config, margin=1.9), tmp_path / "run")
    assert fault.value.exit_code == 4
    assert not (tmp_path / "run" / "concepts" / "conditions.jsonl").exists()
    # Nothing is bound yet: other values may be tried in the same run.
    assert anchors_of(config, tmp_path / "run")[1]["resumed"] is False


def test_few_anchors_are_told(config, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("\n".join(sorted(shapes.VOCABULARY)))
    said = []
    events = Events(lambda event, fields: said.append(fields["text"]) if event == "note" else None)
    run, _ = anchors_of(changed(config, vocabulary=str(words)), tmp_path / "run", events)
    counts = [0] * CLASSES
    for row in read_jsonl(run.anchors):
        counts[row["owner"]] += 1
    for name, count in zip(shapes.ID_WORDS, counts):
        assert (f"note: {name!r} has {count} anchors only" in said) == (count < FEWEST_ANCHORS)
        added = [row["word"] for row in read_jsonl(run.anchors) if row["class_name"] == name and row["topped_up"]]
        assert any(f"{name!r} has" in text and ", ".join(added) in text for text in said) or not added


def test_a_lost_anchor_file_is_a_data_error(config, tmp_path):
    run, _ = anchors_of(config, tmp_path / "run")
    run.anchors.unlink()
    with pytest.raises(DataError, match=r"anchors\.jsonl"):
        anchors_of(config, tmp_path / "run")


# --- other ways to anchors --------------------------------------------------------------------------------------
@pytest.mark.parametrize("source", ["clip-mean", "class-name"])
def test_without_inversion_nothing_is_learned(config, tmp_path, source, monkeypatch):
    monkeypatch.setattr(stage, "invert_classes", None)
    run, result = anchors_of(changed(config, anchor_source=source), tmp_path / "run")
    assert "inversion" not in result and not run.pseudo_words.exists() and result["anchors"] >= CLASSES


def test_class_names_choose_the_words_nearest_to_them(config, tmp_path):
    run, _ = anchors_of(changed(config, anchor_source="class-name"), tmp_path / "run")
    nearest = {(c["cls"], c["anchor"]) for c in read_jsonl(run.conditions) if c["strategy"] == "textual-near-ood"}
    assert {(row["owner"], row["word"]) for row in read_jsonl(run.candidates)} <= nearest


def test_edited_anchors_are_painted_and_nothing_is_searched(config, tmp_path, monkeypatch):
    run, _ = anchors_of(config, tmp_path / "first")
    kept = [row for row in read_jsonl(run.anchors) if row["word"] != "wave"][::2]
    missing = [name for name in shapes.ID_WORDS if name not in {row["class_name"] for row in kept}]
    edited = tmp_path / "edited.jsonl"
    rows = kept + [{"class_name": name, "word": "zebra crossing"} for name in missing]
    edited.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(stage, "_search", None)
    run, result = anchors_of(changed(config, anchors=str(edited)), tmp_path / "second")
    painted = [(c["class_name"], c["anchor"]) for c in read_jsonl(run.conditions) if c["strategy"] == "dog"]
    assert sorted(painted) == sorted((row["class_name"], row["word"]) for row in rows)
    assert result["anchors"] == len(rows)
    edited.write_text(edited.read_text().replace("zebra crossing", "cobweb").replace(kept[0]["word"], "anvil"))
    with pytest.raises(RunMismatch, match="anchors_file"):
        anchors_of(changed(config, anchors=str(edited)), tmp_path / "second")


def test_a_killed_inversion_is_gone_on_with(config, tmp_path, monkeypatch):
    monkeypatch.setattr(inversion, "EVALUATE_EVERY", 2)
    config = changed(config, inversion_steps=6)
    whole, _ = anchors_of(config, tmp_path / "whole")
    real, left = pseudo_words.Checkpoint.keep, []

    def dying(self, state):
        real(self, state)
        left.append(float(state["step"]))
        if len(left) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(pseudo_words.Checkpoint, "keep", dying)
    with pytest.raises(KeyboardInterrupt):
        anchors_of(config, tmp_path / "killed")
    assert (tmp_path / "killed" / "concepts" / "inversion.safetensors").exists()
    said = []
    events = Events(lambda event, fields: said.append(fields["text"]) if event == "note" else None)
    run, _ = anchors_of(config, tmp_path / "killed", events)
    assert "inversion goes on at update 4" in said and left == [2, 4, 6]
    assert contents(whole.concepts) == contents(run.concepts)


def test_a_state_of_other_settings_is_not_gone_on_from(config, tmp_path, monkeypatch):
    monkeypatch.setattr(inversion, "EVALUATE_EVERY", 2)
    monkeypatch.setattr(stage, "encode_pseudo_words", None)
    with pytest.raises(TypeError):
        anchors_of(changed(config, inversion_steps=2), tmp_path / "run")
    path = tmp_path / "run" / "concepts" / "inversion.safetensors"
    checkpoint = pseudo_words.Checkpoint(path, "one")
    checkpoint.keep({"rows": torch.ones(2)})
    assert checkpoint.kept()["rows"].tolist() == [1, 1]
    assert pseudo_words.Checkpoint(path, "other").kept() is None
    path.write_bytes(path.read_bytes()[:-3])
    assert checkpoint.kept() is None
