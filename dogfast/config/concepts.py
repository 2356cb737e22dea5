"""How pseudo-words, candidates and anchors are found (DOG Eq. 4 to 6)."""

from dataclasses import dataclass

from dogfast.config.option import around_a_word, one_of, option, require

ANCHOR_SOURCES = ("textual-inversion", "clip-mean", "class-name")


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
    anchors: str = option("", "edited anchors.jsonl to paint from; nothing is searched then")
    anchor_source: str = option(
        "textual-inversion", "what stands for a class in Eq. 5: textual-inversion, clip-mean or class-name"
    )
    anchor_side: str = option("near", "which distances Eq. 6 keeps: near (bound to lambda), band (two quantiles) or far")
    inversion_steps: int = option(400, "textual-inversion updates, all classes together (Eq. 4)")
    inversion_batch: int = option(64, "images an update, classes mixed")
    inversion_lr: float = option(5e-3, "learning rate of the pseudo-words")
    inversion_images: int = option(200, "at most so many images a class for inversion")
    top_k: int = option(1000, "candidates a class, K of Eq. 5; at most the vocabulary")
    eta: float = option(0.05, "quantile of the image distances of a class, Eq. 6")
    anchor_quantile: float = option(0.5, "lambda of Eq. 6 as a quantile of the distances within a class")
    anchor_lambda: float | None = option(None, "lambda of Eq. 6 as a distance, 0 to 2; default: --anchor-quantile")
    anchor_band: tuple[float, ...] = option((0.25, 0.75), "--anchor-side band: two quantiles of what lies above the bound")
    margin: float = option(0.0, "how much farther than the class's own name an anchor must be")
    concepts_seed: int = option(0, "seed of the inversion")

    def __post_init__(self) -> None:
        around_a_word(self.prompt, "--prompt")
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
        one_of(self.anchor_source, ANCHOR_SOURCES, "--anchor-source")
        one_of(self.anchor_side, ("near", "band", "far"), "--anchor-side")
        require(
            self.anchor_lambda is None or 0 < self.anchor_lambda <= 2,
            f"--anchor-lambda {self.anchor_lambda} is no cosine distance; choose above 0, at most 2",
        )
        band = self.anchor_band
        require(len(band) == 2 and 0 <= band[0] < band[1] <= 1, "--anchor-band needs two quantiles, the lower first")
        require(0 <= self.concepts_seed < 2**53, "--concepts-seed must lie between 0 and 2^53")
