"""What `tiny` is made of: the shape of every network and how long each is trained. Data, no behaviour."""

from dogfast.data import shapes

SEED = 0
WORDS = shapes.KNOWN_WORDS
TEMPLATES = ("a photo of a {}", "a picture of a {}", "a drawing of a {}", "a {}", "{}")
RENDERS_PER_WORD = 1500
MAX_TOKENS = 16
TEXT_WIDTH = 128
PROJECTION = 64
LATENT_CHANNELS = 8
"""Twice Stable Diffusion's: four a 4 x 4 patch cannot hold two colours and an outline."""

AUTOENCODER = dict(
    in_channels=3,
    out_channels=3,
    latent_channels=LATENT_CHANNELS,
    sample_size=shapes.SIZE_PX,
    block_out_channels=(32, 64, 80),
    down_block_types=("DownEncoderBlock2D",) * 3,
    up_block_types=("UpDecoderBlock2D",) * 3,
    layers_per_block=1,
    norm_num_groups=1,  # finer groups lose the absolute colour, which then takes thousands of steps to learn
)
TEXT = dict(
    hidden_size=TEXT_WIDTH,
    intermediate_size=4 * TEXT_WIDTH,
    projection_dim=PROJECTION,
    num_hidden_layers=3,
    num_attention_heads=4,
    hidden_act="quick_gelu",
)
VISION = dict(
    hidden_size=128,
    intermediate_size=512,
    projection_dim=PROJECTION,
    num_hidden_layers=4,
    num_attention_heads=4,
    image_size=shapes.SIZE_PX,
    patch_size=8,
    hidden_act="quick_gelu",
)
UNET = dict(
    sample_size=shapes.SIZE_PX // 4,
    in_channels=LATENT_CHANNELS,
    out_channels=LATENT_CHANNELS,
    block_out_channels=(128, 160),
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    layers_per_block=1,
    cross_attention_dim=TEXT_WIDTH,
    attention_head_dim=4,
    norm_num_groups=16,
)
TRAINING = dict(
    autoencoder=dict(steps=11000, batch=16, lr=4e-4, kl_weight=5e-4, first_logvar=-4.0),
    clip=dict(steps=2500, batch=192, lr=7e-4, max_logit_scale=20.0, guided=0.5, sparse=0.0),
    alignment=dict(steps=1500, batch=192, lr=1e-3, logit_scale=20.0, weight=100.0),
    unet=dict(batch=128, ema=0.999, drop_text=0.1),
)

UNET_PHASES = (
    dict(steps=3000, lr=8e-4, min_snr=5.0),  # shapes: the noisy timesteps first
    dict(steps=2000, lr=5e-4, min_snr=None),  # outlines: every timestep counts the same
)
