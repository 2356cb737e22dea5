"""optimum-intel's OpenVINO pipeline, in an environment of its own: `python peer_optimum.py FOLDER EXPORTED fp32|bf16`.

The model in FOLDER is exported into EXPORTED unless that stands. Reads an order a line, answers {"seconds": …} a line. The networks are compiled for the batch that is asked for, before the
clock starts. Needs `pip install 'optimum-intel[openvino]' diffusers`; nothing of dogfast.
"""

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from diffusers import DPMSolverMultistepScheduler
from optimum.intel import OVStableDiffusionPipeline

HINTS = {"fp32": "f32", "bf16": "bf16"}


def main(folder: str, exported: str, precision: str) -> None:
    if not Path(exported).exists():
        OVStableDiffusionPipeline.from_pretrained(folder, export=True, compile=False, load_in_8bit=False).save_pretrained(
            exported
        )
    pipe, compiled_for = None, None
    for line in sys.stdin:
        order = json.loads(line)
        shape = (order["batch"], order["side_px"])
        if shape != compiled_for:
            pipe = None  # two of them may be more than memory holds
            pipe, compiled_for = _compiled(exported, precision, *shape), shape
        print(json.dumps({"seconds": _paint(pipe, order)}), flush=True)


def _compiled(exported: str, precision: str, batch: int, side_px: int) -> OVStableDiffusionPipeline:
    hint = {"INFERENCE_PRECISION_HINT": HINTS[precision]}
    pipe = OVStableDiffusionPipeline.from_pretrained(exported, compile=False, ov_config=hint, safety_checker=None)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    pipe.reshape(batch, side_px, side_px, num_images_per_prompt=1)
    pipe._reshape_vae_decoder(pipe.vae_decoder.model, side_px, side_px, batch)  # which takes one image at a time otherwise
    pipe.compile()
    return pipe


def _paint(pipe: OVStableDiffusionPipeline, order: dict) -> float:
    prompts, batch, side_px = order["prompts"], order["batch"], order["side_px"]
    options = {"num_inference_steps": order["steps"], "guidance_scale": order["guidance_scale"]}
    with TemporaryDirectory() as place:
        began = time.perf_counter()
        for start in range(0, len(prompts), batch):
            images = pipe(prompts[start : start + batch], height=side_px, width=side_px, **options).images
            for number, image in enumerate(images, start):
                image.save(Path(place) / f"{number}.png")
        return time.perf_counter() - began


if __name__ == "__main__":
    main(*sys.argv[1:])
