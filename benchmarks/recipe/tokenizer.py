"""A CLIP tokenizer that joins the words it is shown."""

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
MERGES = 5000


def write_tokenizer(folder: Path, words: Sequence[str], templates: Sequence[str], max_tokens: int) -> None:
    """Learn byte-pair merges that join the words of the prompts, write CLIP's files, and check that each is one token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=MERGES, min_frequency=1, end_of_word_suffix="</w>", initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator([t.format(w) for t in templates for w in words], trainer)
    merges = [tuple(m) if not isinstance(m, str) else tuple(m.split()) for m in json.loads(bpe.to_str())["model"]["merges"]]
    tokens = alphabet + [c + "</w>" for c in alphabet] + ["".join(m) for m in merges]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    vocabulary |= {START: len(vocabulary), END: len(vocabulary) + 1}

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    special = dict(bos_token=START, eos_token=END, unk_token=END, pad_token=END)
    config = dict(tokenizer_class="CLIPTokenizer", model_max_length=max_tokens, **special)
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2))
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    split = sorted({w for word in words for w in word.split() if w.isalpha() and len(tokenizer(w)["input_ids"]) != 3})
    assert not split, f"words of more than one token: {split}"
