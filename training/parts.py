"""The parts of the bundled model, untrained, and the pipeline folder they are saved in."""

from pathlib import Path

import torch
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from diffgrid.sampling.classifiers import Probe
from training.render import FACTORS, WORDS

LATENT_CHANNELS = 8
MAX_TOKENS = 24
TEXT_WIDTH = 128

# The scheduler keeps a last alpha_bar of 1e-7: at exactly zero DDIM with eta 1 divides 0 by 0,
# while a larger one would leak the mean colour, which has to come out of pure noise.
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


def autoencoder() -> AutoencoderTiny:
    """128 x 128 x 3 <-> 16 x 16 x 8; pictures in -1 … 1.

    Its decoder is narrow and deep, most of it at 32 x 32 and 64 x 64: after 3.5 minutes a decoder
    of 16 channels was ahead of one of 32 with half the blocks (22.2 against 21.5 dB), at two
    thirds of its time a picture.
    """
    return AutoencoderTiny(
        encoder_block_out_channels=(32, 32, 32, 32),
        num_encoder_blocks=(0, 1, 2, 2),
        decoder_block_out_channels=(16, 16, 16, 16),
        num_decoder_blocks=(4, 6, 5, 0),
        latent_channels=LATENT_CHANNELS,
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


def probe() -> Probe:
    return Probe(FACTORS)


def save_pipeline(
    vae: AutoencoderTiny, text: CLIPTextModel, denoiser: UNet2DConditionModel, folder: Path
) -> None:
    """Write the folder that plain `StableDiffusionPipeline.from_pretrained(folder)` loads."""
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer(),
        unet=denoiser,
        scheduler=sampling_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(folder)
    # transformers 5 writes the tokenizer's class as TokenizersBackend, which earlier ones do not
    # know.
    for file in (folder / "model_index.json", folder / "tokenizer" / "tokenizer_config.json"):
        text_of = file.read_text("utf-8")
        file.write_text(text_of.replace("TokenizersBackend", "PreTrainedTokenizerFast"), "utf-8")
