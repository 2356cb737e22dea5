"""What belongs to one training method alone; `training/regimes.py` says when and how long each of them trains."""

from dataclasses import dataclass

from dogfast.config.option import one_of, option, require

POSITIVE = (
    "oal_temperature", "contrast_temperature", "atom_pool", "poem_prior", "poem_noise", "npos_sigma", "confgan_lr",
)  # fmt: skip
LEAST = {
    "wor_warmup": 0, "oal_kd": 0, "oal_contrast": 0, "atom_attack_steps": 1, "virtual_queue": 2, "virtual_draws": 1,
    "npos_neighbour": 1, "npos_boundary": 1, "npos_draws": 2, "confgan_noise": 1, "confgan_channels": 1,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ObjectivesConfig:
    energy_in: float | None = option(
        None,
        "energy-oe, poem: energy up to which an ID image costs nothing; default: the start's mean over ID images (poem: -25)",
    )
    energy_out: float | None = option(
        None,
        "energy-oe, poem: energy from which an outlier costs nothing; default: the start's mean over the outliers (poem: -7)",
    )
    wor_step: str = option("joint", "dog: ID and outlier gradients in one step (joint, Eq. 9) or two (alternate, as DOE)")
    wor_sign: str = option("ascend", "dog: move the weights up (ascend) or down (descend, as DOE's release) the regret")
    wor_strengths: tuple[float, ...] = option(
        (0.1, 0.01, 0.001, 0.0001), "dog, doe: strengths alpha drawn from, relative to a weight's norm"
    )
    wor_smoothing: float = option(0.6, "dog, doe: part of the former perturbation that is kept")
    wor_warmup: int = option(0, "dog: epochs without perturbation first (doe: 5, or half of them)")
    oal_kd: float = option(4.0, "oal: weight of the divergence from the starting classifier (lambda_kd)")
    oal_contrast: float = option(0.1, "oal: weight of InfoNCE between ID features and outlier features (lambda_c)")
    oal_temperature: float = option(0.1, "oal: temperature of InfoNCE")
    oal_mi: str = option("infonce", "oal: how ID and outlier features are told apart: infonce, or club as the release does")
    atom_quantile: float = option(0.125, "atom: share of the pool that is passed over as too much like ID, by p(K+1)")
    atom_pool: float = option(8.0, "atom, poem: outliers an epoch chooses from, in ID images")
    atom_epsilon: float = option(8 / 255, "atom: largest change of a pixel; 0 is NTOM, without attacks")
    atom_attack_steps: int = option(5, "atom: steps of the attack, of 2/255 each at the default epsilon")
    poem_prior: float = option(20.0, "poem: variance of the prior of the boundary's weights")
    poem_noise: float = option(0.5, "poem: variance of the noise of the targets -3 and 3")
    virtual_start: float = option(0.4, "vos, npos: part of the epochs that passes before virtual outliers are used")
    virtual_queue: int = option(1000, "vos, npos: features kept a class")
    virtual_draws: int = option(10_000, "vos: features drawn a class and step, of which the least likely is used")
    npos_neighbour: int = option(300, "npos: which neighbour's distance finds the boundary")
    npos_boundary: int = option(200, "npos: boundary features a step")
    npos_draws: int = option(600, "npos: features drawn around each boundary feature, of which the 2 farthest are used")
    npos_sigma: float = option(0.1, "npos: standard deviation of the draws")
    contrast_temperature: float = option(0.1, "supcon, npos: temperature of the contrastive loss (csi: 0.07, its paper's)")
    confgan_lr: float = option(2e-4, "confgan: learning rate of Adam for classifier, generator and discriminator")
    confgan_noise: int = option(100, "confgan: numbers an image is generated from")
    confgan_channels: int = option(
        128, "confgan: channels of generator and discriminator at half of the side, doubled at each half"
    )

    def __post_init__(self) -> None:
        one_of(self.wor_step, ("joint", "alternate"), "--wor-step")
        one_of(self.wor_sign, ("ascend", "descend"), "--wor-sign")
        one_of(self.oal_mi, ("infonce", "club"), "--oal-mi")
        require(0 <= self.wor_smoothing < 1, "--wor-smoothing must lie in [0, 1)")
        require(bool(self.wor_strengths) and min(self.wor_strengths) > 0, "--wor-strengths must be positive")
        require(0 <= self.atom_quantile < 1, "--atom-quantile must lie in [0, 1)")
        require(0 <= self.atom_epsilon < 1, "--atom-epsilon must lie in [0, 1)")
        require(0 <= self.virtual_start <= 1, "--virtual-start must lie in [0, 1]")
        for name in POSITIVE:
            require(getattr(self, name) > 0, f"--{name.replace('_', '-')} must be positive")
        for name, least in LEAST.items():
            require(getattr(self, name) >= least, f"--{name.replace('_', '-')} must be at least {least}")
