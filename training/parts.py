"""The parts of the bundled model, untrained, and the folder that `StableDiffusionPipeline` loads."""

from pathlib import Path

import torch
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from training.render import FACTORS, WORDS

LATENT_CHANNELS = 8
MAX_TOKENS = 24
TEXT_WIDTH = 128

# The scheduler keeps a last alpha_bar of 1e-7: at exactly zero DDIM with eta 1 divides 0 by 0, while a
# larger one would leak the mean colour, which has to come out of pure noise.
LAST_ALPHA_BAR = 1e-7


def tokenizer() -> PreTrainedTokenizerFast:
    """Word level, 49 words; what is not a letter separates words."""
    ids = {word: i for i, word in enumerate(WORDS)}
    fast = Tokenizer(models.WordLevel(vocab=ids, unk_token="<unk>"))
    fast.normalizer = normalizers.Lowercase()
    fast.pre_tokenizer = pre_tokenizers.Split(Regex("[^a-z]+"), "removed")
    fast.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", ids["<s>"]), ("</s>", ids["</s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=fast,
        model_max_length=MAX_TOKENS,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        padding_side="right",
    )


def text_encoder() -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=len(WORDS),
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        projection_dim=TEXT_WIDTH,
        hidden_act="gelu",
        pad_token_id=WORDS.index("<pad>"),
        bos_token_id=WORDS.index("<s>"),
        eos_token_id=WORDS.index("</s>"),
    )
    return CLIPTextModel(config)


def autoencoder(
    width: int = 16, decoder_blocks: tuple[int, ...] = (4, 6, 5, 0), channels: int = LATENT_CHANNELS
) -> AutoencoderTiny:
    """128 x 128 x 3 <-> 16 x 16 x `channels`; pictures in -1 … 1."""
    return AutoencoderTiny(
        encoder_block_out_channels=(32, 32, 32, 32),
        num_encoder_blocks=(0, 1, 2, 2),
        decoder_block_out_channels=(width,) * 4,
        num_decoder_blocks=decoder_blocks,
        latent_channels=channels,
    ).to(memory_format=torch.channels_last)


def unet() -> UNet2DConditionModel:
    """Cross-attention at 8 x 8 and 4 x 4 only: at 16 x 16 it costs more than it gives."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(64, 128, 128),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
        use_linear_projection=True,
    ).to(memory_format=torch.channels_last)


def training_scheduler() -> DDIMScheduler:
    """Zero terminal SNR and v-prediction (Lin et al., arXiv 2305.08891, sections 3.1 and 3.2)."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
    )


def sampling_scheduler() -> DDIMScheduler:
    alphas_cumprod = training_scheduler().alphas_cumprod.double().clone()
    alphas_cumprod[-1] = LAST_ALPHA_BAR
    ratios = torch.cat([alphas_cumprod[:1], alphas_cumprod[1:] / alphas_cumprod[:-1]])
    return DDIMScheduler(
        trained_betas=[float(f"{beta:.8g}") for beta in (1 - ratios).tolist()],
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,
    )


class Probe(torch.nn.Module):
    """Which value each factor has: one head a factor, its last class *unclear*.

    pictures (n, 3, 128, 128) in -1 … 1 -> list over factors of logits (n, values + 1)
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        w = width
        self.features = torch.nn.Sequential(
            torch.nn.Conv2d(3, w, 5, stride=2, padding=2), torch.nn.BatchNorm2d(w), torch.nn.ReLU(),
            torch.nn.Conv2d(w, w, 3, stride=2, padding=1), torch.nn.BatchNorm2d(w), torch.nn.ReLU(),
            torch.nn.Conv2d(w, 2 * w, 3, stride=2, padding=1), torch.nn.BatchNorm2d(2 * w), torch.nn.ReLU(),
            torch.nn.Conv2d(2 * w, 2 * w, 3, padding=1), torch.nn.BatchNorm2d(2 * w), torch.nn.ReLU(),
            torch.nn.Conv2d(2 * w, 4 * w, 3, stride=2, padding=1), torch.nn.BatchNorm2d(4 * w), torch.nn.ReLU(),
            torch.nn.Conv2d(4 * w, 2 * w, 1), torch.nn.Flatten(),
            torch.nn.Linear(2 * w * 64, 4 * w), torch.nn.ReLU(),
        )  # fmt: skip
        self.heads = torch.nn.ModuleList(
            torch.nn.Linear(4 * w, len(v) + 1) for v in FACTORS.values()
        )

    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        features = self.features(pictures)
        return [head(features) for head in self.heads]
