"""Which images are in-distribution and how they are read."""

from dataclasses import dataclass

from dogfast.config.option import one_of, option, require

SMALL_PX = 64
"""Images of up to this side are treated as CIFAR's are (3x3 stems, shifted crops), larger ones as ImageNet's."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    classes: str = option(
        "shapes",
        "ID classes: shapes, cifar10, cifar100, imagenet, imagenet-100, imagenet-200, tiny-imagenet, or a folder or tar of class folders",
    )
    data: tuple[str, ...] = option((), "where a data set lies, NAME=PATH; may be repeated", identity=False)
    image_px: int = option(32, "side to which every image is brought, pixels")
    id_images: int = option(5000, "ID training images; for file sets at most so many, drawn evenly over classes; 0 = all")
    hub: bool = option(
        True, "ask the Hugging Face hub for data sets that are not here; --offline is --no-hub too", identity=False, kept=False
    )
    match_codec: str = option("auto", "pass every non-ID image through the ID set's codec: auto or none")

    def __post_init__(self) -> None:
        require(bool(self.classes), "--classes is empty; name a class set or a folder")
        require(8 <= self.image_px <= 512, f"--image-px {self.image_px} is out of range; choose 8 to 512")
        require(self.id_images >= 0, f"--id-images {self.id_images} is negative; choose 0 for all")
        one_of(self.match_codec, ("auto", "none"), "--match-codec")
        for location in self.data:
            name, _, path = location.partition("=")
            require(bool(name and path), f"--data {location!r} is not NAME=PATH")
