"""Which generator paints the outliers and on what it runs."""

from dataclasses import dataclass

from dogfast.config.option import one_of, option


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    model: str = option("auto", "generator: tiny, sd15, a diffusers folder or a hub name; auto = tiny for shapes, else sd15")
    revision: str = option("main", "revision of a hub model; a commit pins it")
    clip: str = option("auto", "CLIP of the anchor search; auto = the model's own, for sd15 openai/clip-vit-large-patch14")
    precision: str = option("auto", "arithmetic of the networks: auto, fp32, bf16 or fp16")
    device: str = option("auto", "auto, cpu, cuda or cuda:N", identity=False)
    offline: bool = option(False, "never ask a hub", identity=False)

    def __post_init__(self) -> None:
        one_of(self.precision, ("auto", "fp32", "bf16", "fp16"), "--precision")
