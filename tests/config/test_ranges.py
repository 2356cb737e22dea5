"""Every value out of range is refused in a sentence that names its flag."""

import dataclasses

import pytest

from dogfast.config import RunConfig, TrainingConfig
from dogfast.errors import UsageError

SECTION_OF = {
    item.name: field.default_factory
    for field in dataclasses.fields(RunConfig)
    for item in dataclasses.fields(field.default_factory)
}

REFUSED = [
    ("classes", ""), ("image_px", 7), ("image_px", 513), ("id_images", -1), ("match_codec", "png"),
    ("data", ("cifar10",)), ("data", ("=x",)), ("data", ("cifar10=",)), ("data", ("a=b", "c")),
    ("precision", "fp8"),
    ("prompt", "a photo"), ("prompt", "{} and {}"), ("prompt", "{} {x}"), ("prompt", "{{}}"), ("prompt", "{0}"),
    ("inversion_steps", -1), ("inversion_batch", 0), ("inversion_images", 0), ("inversion_lr", 0.0), ("top_k", 0),
    ("eta", 0.0), ("eta", 1.0), ("anchor_quantile", 0.0), ("anchor_quantile", 1.1), ("concepts_seed", -1), ("concepts_seed", 2**53),
    ("m", 0), ("strategy", "fox"), ("steps", 1), ("steps", 1001), ("guidance_scale", -0.1), ("guidance_start", 1.1),
    ("guidance_stop", -0.1), ("deepcache", 0), ("resolution", 0), ("resolution", 33), ("samples_per_shard", 0), ("samples_per_shard", 10_001),
    ("rows", -1), ("seed", -1), ("seed", 2**53),
    ("objective", "magic"), ("wor_step", "both"), ("wor_sign", "up"), ("train_precision", "fp8"), ("dropout", 1.0),
    ("id_synthetic", 1.0), ("id_synthetic", -0.1), ("outliers", "id-control"),
    ("dropout", -0.1), ("pretrain_epochs", 0), ("pretrain_epochs", -1), ("epochs", 0), ("pretrain_lr", 0.0), ("lr", -1.0), ("lr", float("nan")), ("batch", 1),
    ("ood_batch", 0), ("oe_weight", -0.5), ("wor_smoothing", 1.0), ("wor_strengths", ()), ("wor_strengths", (0.1, 0.0)),
    ("wor_warmup", -1), ("momentum", 1.0), ("momentum", -0.1), ("weight_decay", -1e-4), ("train_seed", -1), ("train_seed", 2**53),
    ("start", "here"), ("accumulate", 0), ("ema", 1.0), ("window_mb", 0), ("compile", "maybe"), ("checkpoint_minutes", -1.0), ("track", ("paper",)),
    ("oal_kd", -1.0), ("oal_contrast", -1.0), ("oal_temperature", 0.0), ("oal_mi", "none"), ("atom_quantile", 1.0), ("atom_pool", 0.0), ("atom_epsilon", 1.0),
    ("atom_attack_steps", 0), ("poem_prior", 0.0), ("poem_noise", 0.0), ("virtual_start", 1.1), ("virtual_queue", 1), ("virtual_draws", 0),
    ("npos_neighbour", 0), ("npos_boundary", 0), ("npos_draws", 1), ("npos_sigma", 0.0), ("contrast_temperature", 0.0), ("confgan_lr", 0.0), ("confgan_noise", 0), ("confgan_channels", 0),
    ("protocol", "openOOD"), ("protocol_seed", -1), ("corrupted_images", -1), ("keep_features", "bf16"),
    ("scores", ("magic",)), ("scores", ()), ("ood_images", -1), ("ash_percentile", 100), ("ash_percentile", -1), ("knn_share", 0.0), ("knn_share", 1.5),
]  # fmt: skip

ALLOWED = [
    ("image_px", 8), ("image_px", 512), ("id_images", 0), ("prompt", "{}"), ("inversion_steps", 0), ("anchor_quantile", 1.0),
    ("steps", 2), ("guidance_scale", 0.0), ("guidance_start", 0.0), ("guidance_stop", 1.0), ("resolution", 32), ("seed", 2**53 - 1),
    ("samples_per_shard", 10_000), ("dropout", 0.0), ("momentum", 0.0), ("weight_decay", 0.0), ("batch", 2), ("oe_weight", 0.0),
    ("wor_smoothing", 0.0), ("atom_epsilon", 0.0), ("checkpoint_minutes", 0.0), ("accumulate", 1), ("ash_percentile", 99), ("knn_share", 1.0), ("ood_images", 0), ("corrupted_images", 0), ("protocol", "energy_ood"), ("data", ("a=b=c",)), ("match_codec", "none"),
]  # fmt: skip


@pytest.mark.parametrize("name, value", REFUSED)
def test_refused_with_its_flag(name, value):
    with pytest.raises(UsageError) as refusal:
        SECTION_OF[name](**{name: value})
    assert f"--{name.replace('_', '-')}" in str(refusal.value)
    assert "\n" not in str(refusal.value) and refusal.value.exit_code == 2


@pytest.mark.parametrize("name, value", ALLOWED)
def test_the_ends_of_ranges_are_allowed(name, value):
    assert getattr(SECTION_OF[name](**{name: value}), name) == value


def test_no_epochs_are_for_given_weights_and_weights_for_backbones_without():
    for given in ({"weights": "w.safetensors"}, {"backbone": "hf:x/y"}):
        assert TrainingConfig(pretrain_epochs=0, **given).pretrain_epochs == 0
        with pytest.raises(UsageError, match="--pretrain-epochs must be at least 0"):
            TrainingConfig(pretrain_epochs=-1, **given)
    with pytest.raises(UsageError, match="--weights w: --backbone hf:x/y brings its own"):
        TrainingConfig(backbone="hf:x/y", weights="w")


def test_the_defaults_are_allowed():
    assert RunConfig() == RunConfig()
