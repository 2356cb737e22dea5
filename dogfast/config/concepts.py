"""How pseudo-words, candidates and anchors are found (DOG Eq. 4 to 6)."""

from dataclasses import dataclass

from dogfast.config.option import option, require


@dataclass(frozen=True, kw_only=True)
class ConceptsConfig:
    vocabulary: str = option(
        "auto", "words to search: shapes, wordnet, nltk (the one NLTK finds) or a file of one word a line; auto = by class set"
    )
    exclude_words: tuple[str, ...] = option((), "words never to use; may be repeated")
    block_list: str = option(
        "", "file of words and WNIDs (n + 8 digits, with their kinds) never to use; default: the package's list"
    )
    prompt: str = option("a photo of a {}", "prompt around a word, for the text encoder and for painting")
    inversion_steps: int = option(400, "textual-inversion updates, all classes together (Eq. 4)")
    inversion_batch: int = option(64, "images an update, classes mixed")
    inversion_lr: float = option(5e-3, "learning rate of the pseudo-words")
    inversion_images: int = option(200, "at most so many images a class for inversion")
    top_k: int = option(1000, "candidates a class, K of Eq. 5; at most the vocabulary")
    eta: float = option(0.05, "quantile of the image distances of a class, Eq. 6")
    anchor_quantile: float = option(0.5, "lambda of Eq. 6 as a quantile of the distances within a class")
    margin: float = option(0.0, "how much farther than the class's own name an anchor must be")
    concepts_seed: int = option(0, "seed of the inversion")

    def __post_init__(self) -> None:
        braces = [self.prompt.count(mark) for mark in ("{}", "{", "}")]
        require(braces == [1, 1, 1], f"--prompt {self.prompt!r} must hold {{}} exactly once and no other brace")
        require(self.inversion_steps >= 0, "--inversion-steps must not be negative")
        require(self.inversion_batch >= 1, "--inversion-batch must be at least 1")
        require(self.inversion_images >= 1, "--inversion-images must be at least 1")
        require(self.inversion_lr > 0, "--inversion-lr must be positive")
        require(self.top_k >= 1, "--top-k must be at least 1")
        require(0 < self.eta < 1, f"--eta {self.eta} is out of range; choose between 0 and 1")
        require(
            0 < self.anchor_quantile <= 1,
            f"--anchor-quantile {self.anchor_quantile} is out of range; choose above 0, at most 1",
        )
        require(0 <= self.concepts_seed < 2**53, "--concepts-seed must lie between 0 and 2^53")
