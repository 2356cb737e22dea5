"""Which generator paints the outliers and on what it runs."""

from dataclasses import dataclass

from dogfast.config.option import one_of, option

BACKENDS = ("torch", "openvino", "onnxruntime", "onnxruntime-tensorrt", "tensorrt", "tensorrt-rtx")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    model: str = option("auto", "generator: tiny, sd15, a diffusers folder or a hub name; auto = tiny for shapes, else sd15")
    revision: str = option("main", "revision of a hub model; a commit pins it")
    clip: str = option("auto", "CLIP of the anchor search; auto = the model's own, for sd15 openai/clip-vit-large-patch14")
    tiny_decoder: str = option(
        "auto", "small decoder (TAESD): a diffusers folder or hub name; auto = the model's own, for sd15 TAESD", identity=False
    )
    safety_checker: str = option(
        "", "paint again what a safety checker refuses: own (the model's), a diffusers folder or hub name", identity=False
    )
    lora: str = option("", "LoRA to fuse into the UNet: a safetensors file, its folder or a hub name", identity=False)
    precision: str = option("auto", "arithmetic of the networks: auto, fp32, bf16 or fp16")
    backend: str = option("auto", f"what runs the networks: auto, {', '.join(BACKENDS)}", identity=False)
    attention: str = option("auto", "attention of the torch backend: auto, sdpa or xformers", identity=False)
    engine_dir: str = option(
        "", "folder of built engines; default $DOGFAST_ENGINES, else dogfast/engines in the cache", identity=False
    )
    build: bool = option(True, "build engines that are missing; --no-build makes that an error", identity=False)
    device: str = option("auto", "auto, cpu, cuda or cuda:N", identity=False)
    offline: bool = option(False, "never ask a hub", identity=False)

    def __post_init__(self) -> None:
        one_of(self.precision, ("auto", "fp32", "bf16", "fp16"), "--precision")
        one_of(self.backend, ("auto", *BACKENDS), "--backend")
        one_of(self.attention, ("auto", "sdpa", "xformers"), "--attention")
