"""What `mini` is made of: the shape of every network and how long each is trained, on a GPU or on two cores. Data, no behaviour."""

SEED = 0
TEMPLATES = ("a photo of a {}", "a picture of a {}", "a photo of the {}", "a {}", "{}")
SIDE_PX = 32
MAX_TOKENS = 16
CIFAR_SHARE = 0.6
"""Of what is drawn for training; the rest is Tiny ImageNet's. CIFAR-10 has ten concepts of 5,000 images, it 160 of 250."""

_AUTOENCODER = dict(
    in_channels=3,
    out_channels=3,
    latent_channels=16,  # a 4 x 4 patch of a photograph in fewer numbers blurs
    sample_size=SIDE_PX,
    down_block_types=("DownEncoderBlock2D",) * 3,
    up_block_types=("UpDecoderBlock2D",) * 3,
    layers_per_block=1,
)
_TEXT = dict(hidden_act="gelu", projection_dim=128)
_VISION = dict(image_size=SIDE_PX, patch_size=4, hidden_act="gelu", projection_dim=128)
_UNET = dict(
    sample_size=SIDE_PX // 4,
    in_channels=_AUTOENCODER["latent_channels"],
    out_channels=_AUTOENCODER["latent_channels"],
    layers_per_block=1,
    norm_num_groups=16,
)
_EVERYWHERE = dict(
    down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
)
_INSIDE = dict(down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"))
"""Where the UNet attends to the text: at both of its widths, or at the inner one alone, which costs half as much."""

SETTINGS = {
    "gpu": dict(
        autoencoder=_AUTOENCODER | dict(block_out_channels=(64, 96, 128), norm_num_groups=1),
        text=_TEXT | dict(hidden_size=192, intermediate_size=768, num_hidden_layers=3, num_attention_heads=3),
        vision=_VISION | dict(hidden_size=256, intermediate_size=1024, num_hidden_layers=6, num_attention_heads=4),
        unet=_UNET | _EVERYWHERE | dict(block_out_channels=(192, 256), cross_attention_dim=192, attention_head_dim=4),
        training=dict(
            autoencoder=dict(steps=12000, batch=128, lr=4e-4, kl_weight=5e-4, first_logvar=-4.0),
            clip=dict(steps=12000, batch=512, lr=7e-4, max_logit_scale=30.0, guided=0.5, sparse=0.7),
            unet=dict(steps=40000, batch=512, lr=8e-4, ema=0.9995, drop_text=0.1, min_snr=5.0, align=0.5),
            decoder=dict(steps=12000, batch=128, lr=4e-4, width=64, weight=0.5, ema=0.999, jitter=0.05),
            judge=dict(backbone="wrn-40-2", steps=15000, batch=128, lr=2e-3),
        ),
    ),
    "cpu": dict(
        autoencoder=_AUTOENCODER | dict(block_out_channels=(16, 40, 80), norm_num_groups=1),
        text=_TEXT | dict(hidden_size=128, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4),
        vision=_VISION | dict(hidden_size=192, intermediate_size=768, num_hidden_layers=5, num_attention_heads=3),
        unet=_UNET | _INSIDE | dict(block_out_channels=(64, 160), cross_attention_dim=128, attention_head_dim=4),
        training=dict(
            autoencoder=dict(steps=7000, batch=32, lr=4e-4, kl_weight=5e-4, first_logvar=-4.0),
            clip=dict(steps=7000, batch=96, lr=8e-4, max_logit_scale=30.0, guided=0.5, sparse=0.7),
            unet=dict(steps=12000, batch=64, lr=8e-4, ema=0.999, drop_text=0.1, min_snr=5.0, align=0.5),
            decoder=dict(steps=5000, batch=32, lr=4e-4, width=24, weight=0.5, ema=0.995, jitter=0.05),
            judge=dict(backbone="wrn-16-2", steps=4500, batch=128, lr=2e-3),
        ),
    ),
}
