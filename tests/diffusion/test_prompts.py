"""Pseudo-words read exactly what a word of the same embedding would, and nothing else in the encoder changes."""

import json

import pytest
import torch
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from dogfast.diffusion.prompts import (
    encode_prompts,
    initial_rows,
    pseudo_words_in,
    token_table,
    tokenize,
    tokenize_pseudo_words,
)
from dogfast.errors import UsageError

WORDS = ("circle", "star", "arrow")
TEMPLATES = ["a photo of a {}", "{}", "{} in a drawing", 'a "{}" of a photo', "a {}, a picture", "  {}  "]


@pytest.fixture(scope="module")
def tokenizer(random_pipeline):
    return CLIPTokenizer.from_pretrained(random_pipeline / "tokenizer")


@pytest.fixture
def encoder(random_pipeline):
    return CLIPTextModel.from_pretrained(random_pipeline / "text_encoder").eval().requires_grad_(False)


@pytest.fixture
def projection(encoder):
    return torch.randn(24, encoder.config.hidden_size, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def end(tokenizer):
    return tokenizer.eos_token_id


# --- plain prompts ----------------------------------------------------------------------------------------------
def test_prompts_are_projected_as_transformers_does(random_pipeline, tokenizer, encoder, end):
    torch.manual_seed(0)
    reference = CLIPTextModelWithProjection(encoder.config).eval()
    missing, unexpected = reference.text_model.load_state_dict(encoder.state_dict(), strict=False)
    assert not unexpected and not missing
    ids = tokenize(tokenizer, ["a photo of a circle", "star", "", "word " * 40])
    with torch.no_grad():
        states, projected = encode_prompts(encoder, reference.text_projection.weight, ids, end)
        theirs = reference(ids)
    assert states.shape == (4, 16, 32) and projected.shape == (4, 24)
    torch.testing.assert_close(projected, theirs.text_embeds)
    torch.testing.assert_close(states, theirs.last_hidden_state)


def test_ids_are_padded_and_cut_to_the_models_length(tokenizer, end):
    ids = tokenize(tokenizer, ["circle", "word " * 40])
    assert ids.shape == (2, 16) and ids.dtype == torch.int64
    assert (ids[:, 0] == tokenizer.bos_token_id).all() and (ids[:, -1] == end).all()


# --- ids of pseudo-words ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("template", TEMPLATES)
def test_ids_are_those_of_the_plain_prompt_with_the_word_swapped(template, tokenizer):
    size = len(tokenizer)
    ids = tokenize_pseudo_words(tokenizer, template, len(WORDS), size)
    plain = tokenize(tokenizer, [template.format(word) for word in WORDS])
    word_ids = torch.tensor([tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in WORDS])
    assert ids.dtype == torch.int64 and ((ids >= size).sum(1) == 1).all()
    assert ids[ids >= size].tolist() == [size, size + 1, size + 2]
    assert torch.equal(torch.where(ids >= size, word_ids[:, None], ids), plain)


@pytest.mark.parametrize("behind", [8, 9, 10, 11, 40])
def test_an_over_long_template_is_cut_behind_the_word_and_keeps_its_end(behind, tokenizer, end):
    template = "a photo of a {}" + " circle" * behind
    ids = tokenize_pseudo_words(tokenizer, template, 2, len(tokenizer))
    assert ids.shape == (2, 16) and (ids[:, 5] >= len(tokenizer)).all()
    assert torch.equal(ids[:, 6:], tokenize(tokenizer, [template.format("star")] * 2)[:, 6:])
    assert (ids[:, -1] == end).all()


def test_the_last_place_before_the_end_still_takes_a_word_and_no_later_one(tokenizer, end):
    ids = tokenize_pseudo_words(tokenizer, "circle " * 13 + "{}", 1, len(tokenizer))
    assert ids.shape == (1, 16) and ids[0, 14] == len(tokenizer) and ids[0, 15] == end
    for words in (14, 15, 60):
        with pytest.raises(UsageError, match=r"--prompt .*16 tokens"):
            tokenize_pseudo_words(tokenizer, "circle " * words + "{}", 1, len(tokenizer))


# --- reading them -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("template", TEMPLATES)
def test_rows_of_known_words_encode_exactly_as_those_words(template, tokenizer, encoder, projection, end):
    rows = initial_rows(tokenizer, token_table(encoder), WORDS)
    ids = tokenize_pseudo_words(tokenizer, template, len(WORDS), len(tokenizer))
    plain = tokenize(tokenizer, [template.format(word) for word in WORDS])
    with torch.no_grad():
        expected = encode_prompts(encoder, projection, plain, end)
        with pseudo_words_in(encoder, rows):
            found = encode_prompts(encoder, projection, ids, end)
            assert torch.equal(encode_prompts(encoder, projection, plain, end)[0], expected[0])
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
    assert not torch.equal(expected[0][0], expected[0][1])


def test_rows_keep_their_order_in_any_selection_of_ids(tokenizer, encoder, projection, end):
    rows = torch.randn(4, 32)
    ids = tokenize_pseudo_words(tokenizer, "a photo of a {}", 4, len(tokenizer))
    with torch.no_grad(), pseudo_words_in(encoder, rows):
        everything = encode_prompts(encoder, projection, ids, end)[1]
        some = encode_prompts(encoder, projection, ids[[2, 0, 2]], end)[1]
    torch.testing.assert_close(some, everything[[2, 0, 2]])


def test_a_row_gets_gradient_from_its_own_prompt_and_the_encoder_none(tokenizer, encoder, projection, end):
    for parameter in encoder.parameters():
        parameter.requires_grad_(True)
    frozen = encoder.requires_grad_(False)
    rows = torch.randn(3, 32, requires_grad=True)
    ids = tokenize_pseudo_words(tokenizer, "a photo of a {}", 3, len(tokenizer))
    with pseudo_words_in(frozen, rows):
        states, projected = encode_prompts(frozen, projection, ids, end)
    for outputs in (projected, states):
        (gradient,) = torch.autograd.grad(outputs[1].square().sum(), rows, retain_graph=True)
        assert gradient[1].abs().sum() > 0 and not gradient[[0, 2]].any()
    assert all(parameter.grad is None for parameter in frozen.parameters())


def test_the_gradient_is_that_of_finite_differences(tokenizer, encoder, projection, end):
    encoder, projection = encoder.double(), projection.double()
    rows = torch.randn(2, 32, dtype=torch.float64, requires_grad=True)
    ids = tokenize_pseudo_words(tokenizer, "a {}", 2, len(tokenizer))

    def total(values):
        with pseudo_words_in(encoder, values):
            return encode_prompts(encoder, projection, ids, end)[1].square().sum()

    (gradient,) = torch.autograd.grad(total(rows), rows)
    step = 1e-6 * torch.randn(2, 32, dtype=torch.float64)
    with torch.no_grad():
        change = total(rows + step) - total(rows - step)
    assert float(change) == pytest.approx(2 * float((gradient * step).sum()), rel=1e-5)


def test_the_encoder_is_whole_again_after_success_and_after_failure(tokenizer, encoder, projection, end):
    table, names = token_table(encoder), [name for name, _ in encoder.named_parameters()]
    weights = {name: value.clone() for name, value in encoder.state_dict().items()}
    embedding = encoder.get_input_embeddings()
    with pseudo_words_in(encoder, torch.randn(1, 32)):
        assert encoder.get_input_embeddings() is not embedding
        assert token_table(encoder) is table
    with pytest.raises(RuntimeError, match="mid-way"), pseudo_words_in(encoder, torch.randn(1, 32)):
        raise RuntimeError("mid-way")
    assert encoder.get_input_embeddings() is embedding and token_table(encoder) is table
    assert [name for name, _ in encoder.named_parameters()] == names
    assert all(torch.equal(weights[name], value) for name, value in encoder.state_dict().items())


def test_a_pseudo_word_beyond_the_rows_is_an_error_and_not_another_word(tokenizer, encoder, projection, end):
    ids = tokenize_pseudo_words(tokenizer, "a {}", 2, len(tokenizer))
    with pytest.raises(IndexError), pseudo_words_in(encoder, torch.randn(1, 32)):
        encode_prompts(encoder, projection, ids, end)


def test_both_kinds_of_text_model_take_pseudo_words(tokenizer, encoder, projection, end):
    other = CLIPTextModelWithProjection(encoder.config).eval()
    other.text_model.load_state_dict(encoder.state_dict(), strict=False)
    rows = torch.randn(2, 32)
    ids = tokenize_pseudo_words(tokenizer, "a {}", 2, len(tokenizer))
    found = []
    for network in (encoder, other):
        with torch.no_grad(), pseudo_words_in(network, rows):
            found.append(encode_prompts(network, projection, ids, end)[0])
    torch.testing.assert_close(*found)


# --- the configuration of SD v1.5's text encoder ----------------------------------------------------------------
def test_the_wrong_end_id_of_old_clip_configurations_does_not_move_the_pooled_place(
    pipeline_copy, tokenizer, encoder, projection, end
):
    """SD v1.5 says ``eos_token_id: 2``, with which transformers pools at the largest id: the pseudo-word's."""
    config = pipeline_copy / "text_encoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"bos_token_id": 0, "eos_token_id": 2}))
    legacy = CLIPTextModel.from_pretrained(pipeline_copy / "text_encoder").eval()
    assert legacy.config.eos_token_id == 2
    rows = initial_rows(tokenizer, token_table(encoder), WORDS)
    ids = tokenize_pseudo_words(tokenizer, "a {} photo", len(WORDS), len(tokenizer))
    plain = tokenize(tokenizer, [f"a {word} photo" for word in WORDS])
    with torch.no_grad(), pseudo_words_in(legacy, rows):
        naive = legacy(ids).pooler_output
        states, projected = encode_prompts(legacy, projection, ids, end)
    with torch.no_grad():
        expected = encode_prompts(encoder, projection, plain, end)[1]
    assert not torch.allclose(naive @ projection.T, expected, atol=1e-3)
    torch.testing.assert_close(projected, expected)
    torch.testing.assert_close(projected, states[:, 4] @ projection.T)


def test_padding_with_another_token_changes_nothing_that_is_read(tokenizer, encoder, projection, end):
    ids = tokenize(tokenizer, ["a photo of a circle"])
    padded = ids.clone()
    padded[:, 7:] = 0
    with torch.no_grad():
        one, other = (encode_prompts(encoder, projection, each, end) for each in (ids, padded))
        cut = encode_prompts(encoder, projection, ids[:, :7], end)
    torch.testing.assert_close(one[1], other[1])
    torch.testing.assert_close(one[1], cut[1])


# --- where a row starts -----------------------------------------------------------------------------------------
def test_rows_start_at_the_mean_of_a_names_tokens(tokenizer, encoder):
    table = token_table(encoder)
    names = ("circle", "star circle", "zebra crossing")
    rows = initial_rows(tokenizer, table, names)
    assert rows.shape == (3, 32) and rows.dtype == torch.float32
    for row, name in zip(rows, names):
        ids = tokenizer(name, add_special_tokens=False)["input_ids"]
        assert len(ids) >= 1 and torch.allclose(row, table[ids].mean(0))
    assert len(tokenizer("zebra crossing", add_special_tokens=False)["input_ids"]) > 2
    rows += 1
    assert not torch.equal(rows[0], table[tokenizer("circle", add_special_tokens=False)["input_ids"][0]])


def test_rows_of_a_half_precision_table_are_float32(tokenizer, encoder):
    assert initial_rows(tokenizer, token_table(encoder).half(), ("circle",)).dtype == torch.float32
