"""Prompts as token ids, and pseudo-words in them.

A pseudo-word has no token: its place in a prompt holds an id beyond the tokenizer's vocabulary, ``vocabulary size + row``,
and `pseudo_words_in` makes the text encoder read that row of a learned table. No tokenizer is edited.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from dogfast.errors import UsageError

if TYPE_CHECKING:
    from dogfast.diffusion.load import Pipeline


def tokenize(tokenizer, prompts: list[str]) -> torch.Tensor:
    """Ids int64 (n, L), padded and cut to the model's length."""
    options = dict(padding="max_length", truncation=True, max_length=tokenizer.model_max_length, return_tensors="pt")
    return tokenizer(prompts, **options)["input_ids"]


def tokenize_pseudo_words(tokenizer, template: str, rows: int, vocabulary_size: int) -> torch.Tensor:
    """Ids int64 (rows, L) of ``template`` ("a photo of a {}") around each of ``rows`` pseudo-words, cut behind the word if too long."""
    before, after = (_inner_ids(tokenizer, part) for part in template.split("{}"))
    length, end = tokenizer.model_max_length, tokenizer.eos_token_id
    if len(before) > length - 3:
        raise UsageError(f"--prompt {template!r} leaves no room for a word: the text encoder reads {length} tokens; shorten it")
    after = after[: length - len(before) - 3]
    tail = [*after, end]
    padding = [tokenizer.pad_token_id] * (length - len(before) - len(tail) - 2)
    return torch.tensor([[tokenizer.bos_token_id, *before, vocabulary_size + row, *tail, *padding] for row in range(rows)])


def _inner_ids(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"] if text.strip() else []


def initial_rows(tokenizer, table: torch.Tensor, words: tuple[str, ...]) -> torch.Tensor:
    """The mean token embedding of each word, float32 (n, D): where a pseudo-word starts."""
    return torch.stack([table[_inner_ids(tokenizer, word)].float().mean(0) for word in words])


def encode_prompts(
    text_encoder: torch.nn.Module, projection: torch.Tensor, ids: torch.Tensor, end_id: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token states (n, L, D), and the state at the first end token, projected: (n, P)."""
    states = text_encoder(ids).last_hidden_state
    rows, tokens = ids.shape
    places = torch.arange(tokens, device=ids.device)
    ends = torch.where(ids == end_id, tokens - places, 0).argmax(1)  # without ties, whose order no runtime promises
    pooled = states[torch.arange(rows, device=ids.device), ends]
    return states, pooled @ projection.to(pooled).T


@contextmanager
def pseudo_words_in(text_encoder: torch.nn.Module, rows: torch.Tensor) -> Iterator[None]:
    """Let ids from the vocabulary's size on read ``rows`` (n, D), with gradients, while the context lasts."""
    embeddings = _embeddings(text_encoder)
    known = embeddings.token_embedding
    embeddings.token_embedding = _Injected(known, rows)
    try:
        yield
    finally:
        embeddings.token_embedding = known


@torch.no_grad()
def encode_pseudo_words(pipeline: Pipeline, template: str, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Token states (n, L, D) and projected states (n, P) of ``template`` around each of ``rows`` (n, D), in torch."""
    encoder = pipeline.text_encoder
    ids = tokenize_pseudo_words(pipeline.tokenizer, template, len(rows), len(token_table(encoder)))
    with pseudo_words_in(encoder, rows):
        return encode_prompts(encoder, pipeline.text_projection, ids, pipeline.end_id)


class _Injected(torch.nn.Module):
    def __init__(self, known: torch.nn.Embedding, rows: torch.Tensor):
        super().__init__()
        self.known, self.rows = known, [rows]
        self.weight = known.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        size = self.known.num_embeddings
        known = self.known(ids.clamp(max=size - 1))
        learned = F.embedding((ids - size).clamp(min=0), self.rows[0]).to(known)
        return torch.where((ids >= size)[..., None], learned, known)


def _embeddings(text_encoder: torch.nn.Module) -> torch.nn.Module:
    return getattr(text_encoder, "text_model", text_encoder).embeddings


def token_table(text_encoder: torch.nn.Module) -> torch.Tensor:
    """The token embeddings (V, D)."""
    return _embeddings(text_encoder).token_embedding.weight
