"""Tiny pipelines of many more classes, with random weights, built without a network.

Each saves to a folder that the library loads again as it is. What its scheduler steps is small:
some 8 x 8 latents, or 16 tokens of packed ones.
"""

from typing import Any

import torch
from diffusers import (
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    AutoencoderDC,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    AutoencoderKLQwenImage21,
    AutoencoderKLWan,
    BriaFibo2Pipeline,
    BriaFibo2Transformer2DModel,
    BriaFiboPipeline,
    BriaFiboTransformer2DModel,
    BriaPipeline,
    BriaTransformer2DModel,
    ChromaPipeline,
    ChromaTransformer2DModel,
    CogVideoXDDIMScheduler,
    CogView3PlusPipeline,
    CogView3PlusTransformer2DModel,
    CogView4Pipeline,
    CogView4Transformer2DModel,
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    DreamLiteMobilePipeline,
    ErnieImagePipeline,
    ErnieImageTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinKVPipeline,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    FluxKontextPipeline,
    HunyuanDiT2DModel,
    HunyuanDiTPAGPipeline,
    HunyuanDiTPipeline,
    Ideogram4Pipeline,
    Ideogram4Transformer2DModel,
    Kandinsky3Pipeline,
    Kandinsky3UNet,
    KandinskyCombinedPipeline,
    KandinskyV22CombinedPipeline,
    LongCatImagePipeline,
    LongCatImageTransformer2DModel,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    LuminaNextDiT2DModel,
    LuminaPipeline,
    NucleusMoEImagePipeline,
    NucleusMoEImageTransformer2DModel,
    OvisImagePipeline,
    OvisImageTransformer2DModel,
    PixArtAlphaPipeline,
    PixArtSigmaPAGPipeline,
    PixArtTransformer2DModel,
    PriorTransformer,
    QwenImage21Pipeline,
    QwenImage21Transformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPAGPipeline,
    SanaPipeline,
    SanaTransformer2DModel,
    SemanticStableDiffusionPipeline,
    StableDiffusion3PAGPipeline,
    StableDiffusionLDM3DPipeline,
    StableDiffusionPAGPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPAGPipeline,
    StableUnCLIPPipeline,
    UnCLIPScheduler,
    VQModel,
    ZImageOmniPipeline,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from diffusers.models.unets.unet_dreamlite import DreamLiteUNetModel
from diffusers.pipelines.kandinsky.text_encoder import MCLIPConfig, MultilingualCLIP
from diffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertModel,
    CLIPImageProcessorPil,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    GemmaConfig,
    GemmaModel,
    GlmConfig,
    GlmModel,
    LlavaProcessor,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    Mistral3Model,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLModel,
    Siglip2ImageProcessor,
    Siglip2VisionConfig,
    Siglip2VisionModel,
    SmolLM3Config,
    SmolLM3ForCausalLM,
    UMT5Config,
    UMT5EncoderModel,
)

from tests import tiny
from tests.tiny import GENTLE, SIZE, WIDTH, WORDS, Family

# The layers whose attention is perturbed are no part of a folder: networks have those that the
# classes perturb by default.

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{{ message['content'][0]['text'] }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MARKS = ("<|im_start|>", "<|im_end|>", "\n")
LANGUAGE = {
    "vocab_size": len(WORDS + MARKS),
    "hidden_size": WIDTH,
    "intermediate_size": WIDTH,
    "num_hidden_layers": 2,  # many take the last but one
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def _chat_tokenizer() -> PreTrainedTokenizerFast:
    """One that counts Qwen's marks and ends of lines as its own does: a token each.

    Pipelines cut the beginning of their templates off by its number of tokens.
    """
    vocabulary = {word: number for number, word in enumerate(WORDS + MARKS)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    pieces = pre_tokenizers.Split(Regex(r"\n|\w+|[^\w\s]+"), "removed", invert=True)
    words.pre_tokenizer = pieces
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        model_max_length=64,
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=list(MARKS[:2]),
        chat_template=CHAT,
    )


def _qwen_3(kind: Any, layers: int = 2) -> Any:
    return kind(Qwen3Config(**LANGUAGE | {"num_hidden_layers": layers})).eval()


def _qwen_2_5_vl() -> Qwen2_5_VLForConditionalGeneration:
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "out_hidden_size": WIDTH,
        "fullatt_block_indexes": [0],
    }
    rotations = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    config = Qwen2_5_VLConfig(
        text_config=LANGUAGE | {"rope_parameters": rotations}, vision_config=vision
    )
    return Qwen2_5_VLForConditionalGeneration(config).eval()


def _qwen_3_vl(kind: Any, layers: int) -> Any:
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "out_hidden_size": WIDTH,
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0],
    }
    rotations = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    text = LANGUAGE | {"rope_parameters": rotations, "num_hidden_layers": layers}
    return kind(Qwen3VLConfig(text_config=text, vision_config=vision)).eval()


def _amplified(network: torch.nn.Module, factor: float = 2.0) -> torch.nn.Module:
    """With larger matrices: torch's first ones take two thirds of the variance that they are
    given, and behind a gate or two nothing that a prompt says would be seen.
    """
    with torch.no_grad():
        for weights in network.parameters():
            if weights.ndim == 2:
                weights.mul_(factor)
    return network.eval()


@tiny._seeded
def stable_diffusion_pag() -> StableDiffusionPAGPipeline:
    """A third evaluation, with the attention of the block in the middle perturbed."""
    return tiny._latent(
        StableDiffusionPAGPipeline,
        DDIMScheduler(**GENTLE, **tiny.LATENT),
        tiny._unet(),
        tiny._vae(),
    )


@tiny._seeded
def semantic_stable_diffusion() -> SemanticStableDiffusionPipeline:
    """Nothing of a picture is edited."""
    return SemanticStableDiffusionPipeline(**_stable_diffusion())


@tiny._seeded
def stable_diffusion_ldm3d() -> StableDiffusionLDM3DPipeline:
    """Pictures with their depth."""
    parts = _stable_diffusion() | {"vae": tiny._vae(in_channels=6, out_channels=6)}
    return StableDiffusionLDM3DPipeline(**parts, image_encoder=None)


def _stable_diffusion() -> dict[str, Any]:
    pipe = tiny._latent(
        StableDiffusionPipeline, DDIMScheduler(**GENTLE, **tiny.LATENT), tiny._unet(), tiny._vae()
    )
    parts = {name: part for name, part in pipe.components.items() if name != "image_encoder"}
    return parts | {"requires_safety_checker": False}


@tiny._seeded
def stable_diffusion_xl_pag() -> StableDiffusionXLPAGPipeline:
    """The same, with added conditions thrice."""
    return StableDiffusionXLPAGPipeline(**tiny.stable_diffusion_xl().components)


@tiny._seeded
def stable_diffusion_3_pag() -> StableDiffusion3PAGPipeline:
    """The same in a flow."""
    networks = tiny.stable_diffusion_3().components
    for name in ("image_encoder", "feature_extractor"):
        del networks[name]
    return StableDiffusion3PAGPipeline(**networks)


@tiny._seeded
def pixart_alpha() -> PixArtAlphaPipeline:
    """The picture's size and ratio as added conditions, which only samples of 128 a side get."""
    transformer = PixArtTransformer2DModel(
        sample_size=128,
        patch_size=4,
        in_channels=4,
        out_channels=8,  # the variance too
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=3,  # a third of the width for each added condition
        cross_attention_dim=24,
        caption_channels=WIDTH,
    )
    return PixArtAlphaPipeline(
        transformer=transformer.eval(),
        scheduler=DPMSolverMultistepScheduler(**GENTLE),
        vae=tiny._vae(),
        text_encoder=tiny._t5(),
        tokenizer=tiny._tokenizer(),
    )


@tiny._seeded
def pixart_sigma_pag() -> PixArtSigmaPAGPipeline:
    """A third evaluation, of whose variance nothing is taken."""
    return PixArtSigmaPAGPipeline(**tiny.pixart_sigma().components)


def _sana(kind: Any, scheduler: Any, **options: Any) -> Any:
    transformer = SanaTransformer2DModel(
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        num_attention_heads=2,
        attention_head_dim=4,
        num_cross_attention_heads=2,
        cross_attention_head_dim=4,
        cross_attention_dim=8,
        caption_channels=WIDTH,
        sample_size=8,
        **options,
    )
    vae = AutoencoderDC(
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types=("ResBlock", "ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "ResBlock", "EfficientViTBlock"),
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        encoder_qkv_multiscales=((), (), (5,)),
        decoder_qkv_multiscales=((), (), (5,)),
        encoder_layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1),
        downsample_block_type="conv",
        scaling_factor=0.41407,
    )
    return kind(
        transformer=transformer.eval(),
        vae=vae.eval(),
        text_encoder=_gemma_2(),
        tokenizer=tiny._tokenizer(),
        scheduler=scheduler,
    )


def _gemma_2() -> Gemma2Model:
    return Gemma2Model(Gemma2Config(**LANGUAGE)).eval()


@tiny._seeded
def sana() -> SanaPipeline:
    """As Sana is published: a solver of diffusion's, told that it follows a flow."""
    scheduler = DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    return _sana(SanaPipeline, scheduler)


@tiny._seeded
def sana_pag() -> SanaPAGPipeline:
    """The same in a flow of its own."""
    return _sana(SanaPAGPipeline, FlowMatchEulerDiscreteScheduler(shift=3.0))


@tiny._seeded
def chroma() -> ChromaPipeline:
    """Flux's packed latents, guided by a second evaluation."""
    transformer = ChromaTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=1,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(4, 4, 8),
        approximator_num_channels=64,
        approximator_hidden_dim=16,
        approximator_layers=1,
    )
    return ChromaPipeline(
        transformer=transformer.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=_plain_vae(),
        text_encoder=tiny._t5(),
        tokenizer=tiny._tokenizer(),
    )


def _plain_vae(**options: Any) -> Any:
    """As flow models have it: shifted, and without the convolutions about the latents."""
    return tiny._vae(shift_factor=0.06, use_quant_conv=False, use_post_quant_conv=False, **options)


@tiny._seeded
def aura_flow() -> AuraFlowPipeline:
    """A flow whose times run from 0 to 1, and a T5 of many languages."""
    transformer = AuraFlowTransformer2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        caption_projection_dim=16,
        pos_embed_max_size=16,
    )
    text_encoder = UMT5EncoderModel(
        UMT5Config(
            vocab_size=len(WORDS), d_model=WIDTH, d_kv=8, d_ff=WIDTH, num_layers=1, num_heads=2
        )
    )
    return AuraFlowPipeline(
        transformer=_amplified(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.73),
        vae=tiny._vae(),
        text_encoder=text_encoder.eval(),
        tokenizer=tiny._tokenizer(),
    )


def _hunyuan_dit(kind: Any) -> Any:
    transformer = HunyuanDiT2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        hidden_size=16,
        cross_attention_dim=WIDTH,
        cross_attention_dim_t5=WIDTH,
        pooled_projection_dim=WIDTH,
    )
    text_encoder = BertModel(
        BertConfig(
            vocab_size=len(WORDS),
            hidden_size=WIDTH,
            intermediate_size=WIDTH,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=77,  # what the pipeline pads to
        )
    )
    return kind(
        transformer=transformer.eval(),
        scheduler=DDPMScheduler(
            beta_start=0.00085,
            beta_end=0.02,
            beta_schedule="scaled_linear",
            prediction_type="v_prediction",
            steps_offset=1,
            clip_sample=False,
        ),
        vae=tiny._vae(levels=4),  # rotations are those of a factor of 8
        text_encoder=text_encoder.eval(),
        tokenizer=tiny._tokenizer(),
        text_encoder_2=tiny._t5(),
        tokenizer_2=tiny._tokenizer(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


@tiny._seeded
def hunyuan_dit() -> HunyuanDiTPipeline:
    """Steps that draw noise, and a transformer that gives the variance too: 2 x 4 channels."""
    return _hunyuan_dit(HunyuanDiTPipeline)


@tiny._seeded
def hunyuan_dit_pag() -> HunyuanDiTPAGPipeline:
    """The same, with its second block perturbed."""
    return _hunyuan_dit(HunyuanDiTPAGPipeline)


def _movq() -> VQModel:
    levels = 4  # the pipelines' own factor is 8
    movq = VQModel(
        latent_channels=4,
        block_out_channels=(32,) * levels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        num_vq_embeddings=16,
        vq_embed_dim=4,
        norm_num_groups=4,
        norm_type="spatial",
    )
    return movq.eval()


@tiny._seeded
def kandinsky_3() -> Kandinsky3Pipeline:
    """A VQ model whose norms, of 32 groups, see the latents."""
    unet = Kandinsky3UNet(
        in_channels=4,
        time_embedding_dim=16,
        groups=2,  # the lowest level has one pixel: each group must have some channels
        attention_head_dim=4,
        layers_per_block=2,
        block_out_channels=(16,) * 4,
        cross_attention_dim=WIDTH,
        encoder_hid_dim=WIDTH,
    )
    return Kandinsky3Pipeline(
        unet=unet.eval(),
        scheduler=DDPMScheduler(**GENTLE, clip_sample=False),
        movq=_movq(),
        text_encoder=tiny._t5(),
        tokenizer=tiny._tokenizer(),
    )


def _prior() -> PriorTransformer:
    prior = PriorTransformer(
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=1,
        embedding_dim=WIDTH,
        num_embeddings=8,
        additional_embeddings=4,
    )
    torch.nn.init.ones_(prior.clip_std)
    return prior.eval()


def _kandinsky_2(kind: Any, **unet: Any) -> Any:
    eyes = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=8,
        patch_size=4,
    )
    own = {"text_encoder": _m_clip(), "tokenizer": tiny._tokenizer()}
    return kind(
        unet=tiny._unet(out_channels=8, encoder_hid_dim=WIDTH, **unet),  # the variance too
        scheduler=DDPMScheduler(**GENTLE, clip_sample=False),
        movq=_movq(),
        prior_prior=_prior(),
        prior_image_encoder=CLIPVisionModelWithProjection(eyes).eval(),
        prior_text_encoder=tiny._clip(CLIPTextModelWithProjection),
        prior_tokenizer=tiny._tokenizer(),
        prior_scheduler=_unclip(),
        prior_image_processor=CLIPImageProcessorPil(),
        **(own if kind is KandinskyCombinedPipeline else {}),
    )


def _unclip() -> UnCLIPScheduler:
    return UnCLIPScheduler(variance_type="fixed_small_log", prediction_type="sample")


def _m_clip() -> MultilingualCLIP:
    return MultilingualCLIP(
        MCLIPConfig(
            transformerDimSize=WIDTH,
            imageDimSize=WIDTH,
            vocab_size=len(WORDS),
            hidden_size=WIDTH,
            intermediate_size=WIDTH,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=80,
        )
    ).eval()


@tiny._seeded
def kandinsky_2() -> KandinskyCombinedPipeline:
    """Words become a picture's embedding first, by a pipeline and a scheduler of their own; its
    text encoder is of the pipeline's own package."""
    return _kandinsky_2(
        KandinskyCombinedPipeline,
        addition_embed_type="text_image",
        encoder_hid_dim_type="text_image_proj",
    )


@tiny._seeded
def kandinsky_2_2() -> KandinskyV22CombinedPipeline:
    """The same, guided by that embedding alone."""
    return _kandinsky_2(
        KandinskyV22CombinedPipeline,
        addition_embed_type="image",
        encoder_hid_dim_type="image_proj",
    )


@tiny._seeded
def stable_unclip() -> StableUnCLIPPipeline:
    """An embedding that a prior makes of the words is noised, and guides like a class."""
    return StableUnCLIPPipeline(
        prior_tokenizer=tiny._tokenizer(),
        prior_text_encoder=tiny._clip(CLIPTextModelWithProjection),
        prior=_prior(),
        prior_scheduler=_unclip(),
        image_normalizer=StableUnCLIPImageNormalizer(embedding_dim=WIDTH),
        image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        tokenizer=tiny._tokenizer(),
        text_encoder=tiny._clip(),
        unet=tiny._unet(
            class_embed_type="projection", projection_class_embeddings_input_dim=2 * WIDTH
        ),
        scheduler=DDIMScheduler(**GENTLE, **tiny.LATENT),
        vae=tiny._vae(),
    )


@tiny._seeded
def lumina() -> LuminaPipeline:
    """(Its pipeline's own factor is 8, whatever the VAE's.)"""
    transformer = LuminaNextDiT2DModel(
        sample_size=8,
        hidden_size=16,
        num_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=16,
        cross_attention_dim=WIDTH,
    )
    torch.nn.init.normal_(transformer.pad_token)  # which is whatever was in memory
    for layer in transformer.layers:
        torch.nn.init.ones_(layer.gate)  # of the text: closed at first
    return LuminaPipeline(
        transformer=transformer.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=tiny._vae(levels=4),
        text_encoder=GemmaModel(GemmaConfig(**LANGUAGE)).eval(),
        tokenizer=tiny._tokenizer(),
    )


@tiny._seeded
def lumina_2() -> Lumina2Pipeline:
    """A prompt that begins with what the system is told."""
    transformer = Lumina2Transformer2DModel(
        sample_size=8,
        in_channels=4,
        hidden_size=32,
        num_layers=1,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=16,
        axes_dim_rope=(4, 4, 8),
        axes_lens=(64, 16, 16),
        cap_feat_dim=WIDTH,
    )
    return Lumina2Pipeline(
        transformer=_amplified(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=_plain_vae(levels=4),
        text_encoder=_gemma_2(),
        tokenizer=tiny._tokenizer(),
    )


def _z_image_transformer(**options: Any) -> ZImageTransformer2DModel:
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=WIDTH,
        axes_dims=[4, 4, 8],
        axes_lens=[128, 16, 16],
        **options,
    )
    return transformer.eval()


@tiny._seeded
def z_image() -> ZImagePipeline:
    """A transformer that takes lists of pictures, and a guidance that is added on top."""
    return ZImagePipeline(
        transformer=_z_image_transformer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_plain_vae(),
        text_encoder=_qwen_3(Qwen3Model),
        tokenizer=_chat_tokenizer(),
    )


def _flux_2(text_width: int, guided: bool) -> dict[str, Any]:
    transformer = Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=text_width,
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=guided,
    )
    return {
        "transformer": _amplified(transformer),
        "vae": _flux_2_vae(),
        "scheduler": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    }


def _flux_2_vae(levels: int = 3) -> AutoencoderKLFlux2:
    vae = AutoencoderKLFlux2(
        latent_channels=4,
        block_out_channels=(8,) * levels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        norm_num_groups=4,
    )
    return vae.eval()


@tiny._seeded
def flux_2_klein() -> Flux2KleinPipeline:
    """Text as layers 9, 18 and 27 of its encoder have it."""
    return Flux2KleinPipeline(
        **_flux_2(text_width=3 * WIDTH, guided=False),
        text_encoder=_qwen_3(Qwen3ForCausalLM, layers=28),
        tokenizer=_chat_tokenizer(),
    )


def _wan_vae() -> AutoencoderKLWan:
    vae = AutoencoderKLWan(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.1] * 4,
        latents_std=[2.0] * 4,
        patch_size=2,
        in_channels=12,
        out_channels=12,
        is_residual=True,
    )
    return vae.eval()


@tiny._seeded
def flux_2_klein_kv() -> Flux2KleinKVPipeline:
    """The same with no picture to begin from, whose keys and values it would keep."""
    return Flux2KleinKVPipeline(**flux_2_klein().components)


def _qwen_vae() -> AutoencoderKLQwenImage:
    vae = AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True],
        latents_mean=[0.1] * 4,
        latents_std=[2.0] * 4,
    )
    return vae.eval()


@tiny._seeded
def qwen_image() -> QwenImagePipeline:
    """Guided by `true_cfg_scale`, where there is a negative prompt; a VAE of videos."""
    transformer = QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(4, 4, 8),
    )
    return QwenImagePipeline(
        transformer=_amplified(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=_qwen_vae(),
        text_encoder=_qwen_2_5_vl(),
        tokenizer=_chat_tokenizer(),
    )


@tiny._seeded
def qwen_image_21() -> QwenImage21Pipeline:
    """Pictures that can be seen through; a token for each latent, by a VAE of videos."""
    transformer = QwenImage21Transformer2DModel(
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        context_in_dim=WIDTH,
        axes_dims_rope=(4, 6, 6),
    )
    vae = AutoencoderKLQwenImage21(
        base_dim=8,
        decoder_base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1, 1, 1],
        num_res_blocks=1,
        latents_mean=[0.1] * 4,
        latents_std=[2.0] * 4,
    )
    tokenizer, picture = _chat_tokenizer(), "<|image_pad|>"  # what stands for one in a prompt
    tokenizer.add_tokens([picture], special_tokens=True)
    return QwenImage21Pipeline(
        transformer=_amplified(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=vae.eval(),
        text_encoder=_qwen_3_vl(Qwen3VLForConditionalGeneration, layers=2),
        # Qwen's own needs a package of videos: of this one, too, only words are asked.
        processor=LlavaProcessor(
            CLIPImageProcessorPil(), tokenizer, chat_template=CHAT, image_token=picture
        ),
    )


@tiny._seeded
def cogview_3_plus() -> CogView3PlusPipeline:
    """Its scheduler ends in noise alone: what its network tells is a velocity."""
    transformer = CogView3PlusTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        text_embed_dim=WIDTH,
        time_embed_dim=16,
        condition_dim=4,
        pos_embed_max_size=8,
        sample_size=8,
    )
    return CogView3PlusPipeline(
        transformer=_amplified(transformer),
        scheduler=CogVideoXDDIMScheduler(
            snr_shift_scale=4.0,
            prediction_type="v_prediction",
            timestep_spacing="trailing",
            rescale_betas_zero_snr=True,
        ),
        vae=tiny._vae(),
        text_encoder=tiny._t5(),
        tokenizer=tiny._tokenizer(),
    )


@tiny._seeded
def cogview_4() -> CogView4Pipeline:
    """Text padded at its left to a multiple of 16, and timesteps that are not its sigmas'."""
    transformer = CogView4Transformer2DModel(
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        text_embed_dim=WIDTH,
        time_embed_dim=16,
        condition_dim=4,
        sample_size=8,
        pos_embed_max_size=8,
        rope_axes_dim=(8, 8),
    )
    return CogView4Pipeline(
        transformer=_amplified(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True,
            base_shift=0.25,
            max_shift=0.75,
            time_shift_type="linear",
        ),
        vae=_plain_vae(),
        text_encoder=GlmModel(GlmConfig(**LANGUAGE)).eval(),
        tokenizer=tiny._tokenizer(),
    )


@tiny._seeded
def bria() -> BriaPipeline:
    """Text padded with zeros."""
    transformer = BriaTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=[4, 4, 8],
    )
    return BriaPipeline(
        transformer=transformer.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=_plain_vae(),
        text_encoder=tiny._t5(),
        tokenizer=tiny._tokenizer(),
    )


@tiny._seeded
def ovis_image() -> OvisImagePipeline:
    """Guided by a second evaluation; text without its instruction."""
    transformer = OvisImageTransformer2DModel(
        in_channels=16,
        out_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(4, 4, 8),
    )
    return OvisImagePipeline(
        transformer=transformer.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=_plain_vae(),
        text_encoder=_qwen_3(Qwen3Model),
        tokenizer=_chat_tokenizer(),
    )


@tiny._seeded
def flux_kontext() -> FluxKontextPipeline:
    """Flux, with no picture to begin from."""
    return FluxKontextPipeline(**tiny.flux().components)


@tiny._seeded
def longcat_image() -> LongCatImagePipeline:
    """Words of 512 tokens, and guidance that is no longer than the prompt's own output."""
    transformer = LongCatImageTransformer2DModel(
        in_channels=64,  # the pipeline's own number, of patches
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=1,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        axes_dims_rope=[4, 4, 8],
    )
    return LongCatImagePipeline(
        transformer=transformer.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=_plain_vae(channels=16),
        text_encoder=_qwen_2_5_vl(),
        tokenizer=_chat_tokenizer(),
        text_processor=_chat_tokenizer(),  # which only rewrites what it is told
    )


@tiny._seeded
def ernie_image() -> ErnieImagePipeline:
    """Latents of patches, which its loop draws itself."""
    transformer = ErnieImageTransformer2DModel(
        hidden_size=32,
        num_attention_heads=2,
        num_layers=1,
        ffn_hidden_size=32,
        in_channels=16,
        out_channels=16,
        text_in_dim=WIDTH,
        rope_axes_dim=(4, 4, 8),
    )
    for closed in (transformer.adaLN_modulation[-1], transformer.final_linear):  # at first
        closed.reset_parameters()
    return ErnieImagePipeline(
        transformer=_amplified(transformer),
        vae=_flux_2_vae(),
        text_encoder=_mistral_3(Mistral3Model, layers=2),
        tokenizer=tiny._tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


@tiny._seeded
def z_image_omni() -> ZImageOmniPipeline:
    """Z-Image, with no pictures beside the prompt."""
    vision = Siglip2VisionConfig(
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        patch_size=4,
        num_patches=16,
    )
    return ZImageOmniPipeline(
        transformer=_z_image_transformer(siglip_feat_dim=WIDTH),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_plain_vae(),
        text_encoder=_qwen_3(Qwen3Model),
        tokenizer=_chat_tokenizer(),
        siglip=Siglip2VisionModel(vision).eval(),
        siglip_processor=Siglip2ImageProcessor(),
    )


@tiny._seeded
def bria_fibo() -> BriaFiboPipeline:
    """A transformer that is given all layers of the text encoder; a token for each latent."""
    config = SmolLM3Config(**LANGUAGE | {"vocab_size": 128001})  # the empty prompt's token
    transformer = BriaFiboTransformer2DModel(
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=2 * WIDTH,
        axes_dims_rope=[4, 4, 8],
        text_encoder_dim=WIDTH,
    )
    return BriaFiboPipeline(
        transformer=transformer.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=_wan_vae(),
        text_encoder=SmolLM3ForCausalLM(config).eval(),
        tokenizer=tiny._tokenizer(),
    )


@tiny._seeded
def ideogram_4() -> Ideogram4Pipeline:
    """Guided by a network of its own, which has no words, at a scale for each step."""
    networks = [
        Ideogram4Transformer2DModel(
            in_channels=16,
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            intermediate_size=32,
            adaln_dim=16,
            llm_features_dim=13 * WIDTH,  # of so many layers of the encoder
            mrope_section=(4, 2, 2),
        )
        for _ in range(2)
    ]
    return Ideogram4Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_flux_2_vae(),
        text_encoder=_qwen_3_vl(Qwen3VLModel, layers=36),
        tokenizer=_chat_tokenizer(),
        transformer=_amplified(networks[0]),
        unconditional_transformer=_amplified(networks[1]),
    )


@tiny._seeded
def nucleus_moe_image() -> NucleusMoEImagePipeline:
    """Experts that choose their tokens, and guidance as long as the prompt's own output."""
    transformer = NucleusMoEImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=5,  # all but one of them are dense
        attention_head_dim=16,
        num_attention_heads=2,
        num_key_value_heads=1,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(4, 6, 6),
        mlp_ratio=6.0,  # the least that has 128 channels, of which there are multiples
        num_experts=4,
        moe_intermediate_dim=16,
        capacity_factors=2.0,
    )
    for block in transformer.transformer_blocks:
        for weights in getattr(block.img_mlp, "experts", torch.nn.Module()).parameters():
            torch.nn.init.normal_(weights, std=0.2)  # which are whatever was in memory
    return NucleusMoEImagePipeline(
        transformer=_amplified(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=_qwen_vae(),
        text_encoder=_qwen_3_vl(Qwen3VLForConditionalGeneration, layers=8),
        processor=_chat_tokenizer(),  # of which no pictures are asked
    )


@tiny._seeded
def bria_fibo_2() -> BriaFibo2Pipeline:
    """Text as bundles of layers of its encoder, of which the last is its 35th."""
    transformer = BriaFibo2Transformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        cap_feat_dim=3 * WIDTH,
        injection_layer_ids=(0, 0, 0, 0, 1),
        perceiver_num_layers=1,
        min_num_gist_tokens=4,
        max_num_gist_tokens=8,
        gist_step=4,
        gist_min_text_len=8,
        gist_max_text_len=32,
        axes_dims=(4, 6, 6),
        axes_lens=(64, 16, 16),
    )
    return BriaFibo2Pipeline(
        transformer=transformer.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=_flux_2_vae(),
        text_encoder=_qwen_3_vl(Qwen3VLForConditionalGeneration, layers=36),
        processor=_chat_tokenizer(),
    )


@tiny._seeded
def dream_lite_mobile() -> DreamLiteMobilePipeline:
    """A U-Net that sees beside the latents those of a picture, which are empty without one."""
    unet = DreamLiteUNetModel(
        sample_size=8,
        block_out_channels=(16,),
        layers_per_block=1,
        down_block_types=("DreamLiteDownBlock2D",),
        up_block_types=("DreamLiteUpBlock2D",),
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
        norm_num_groups=4,
        use_linear_projection=True,
        addition_embed_type="time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=2 * 8,
    )
    return DreamLiteMobilePipeline(
        text_encoder=_qwen_3_vl(Qwen3VLForConditionalGeneration, layers=2),
        tokenizer=_chat_tokenizer(),
        processor=_chat_tokenizer(),
        vae=tiny.stable_diffusion().vae,
        unet=unet.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )


def _mistral_3(kind: Any, layers: int) -> Any:
    config = Mistral3Config(
        text_config={"model_type": "mistral", **LANGUAGE, "num_hidden_layers": layers},
        vision_config={
            "model_type": "pixtral",
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
    )
    return kind(config).eval()


@tiny._seeded
def flux_2() -> Flux2Pipeline:
    """Text as layers 10, 20 and 30 of its encoder have it, guidance as an embedding."""
    return Flux2Pipeline(
        **_flux_2(text_width=3 * WIDTH, guided=True),
        text_encoder=_mistral_3(Mistral3ForConditionalGeneration, layers=31),
        tokenizer=_chat_tokenizer(),
    )


GUIDED = {"guidance_scale": 4.5, **SIZE}
LARGE = {"guidance_scale": 4.5, "height": 64, "width": 64}
UNBINNED = {"use_resolution_binning": False}  # the size that is asked for
SHORT = {"max_sequence_length": 8}
CHATTY = {"max_sequence_length": 16}  # the template's tokens too

CLASSES: dict[str, Family] = {
    "StableDiffusionPAGPipeline": Family(stable_diffusion_pag, GUIDED),
    "StableDiffusionXLPAGPipeline": Family(stable_diffusion_xl_pag, GUIDED),
    "StableDiffusion3PAGPipeline": Family(stable_diffusion_3_pag, GUIDED | SHORT),
    "PixArtAlphaPipeline": Family(pixart_alpha, GUIDED | UNBINNED | SHORT),
    "PixArtSigmaPAGPipeline": Family(pixart_sigma_pag, LARGE | UNBINNED | SHORT),
    "SanaPipeline": Family(sana, GUIDED | UNBINNED | SHORT),
    "SanaPAGPipeline": Family(sana_pag, GUIDED | UNBINNED | SHORT),
    "ChromaPipeline": Family(chroma, GUIDED | SHORT),
    "AuraFlowPipeline": Family(aura_flow, GUIDED | SHORT),
    "HunyuanDiTPipeline": Family(hunyuan_dit, LARGE | UNBINNED),
    "HunyuanDiTPAGPipeline": Family(hunyuan_dit_pag, LARGE | UNBINNED),
    "Kandinsky3Pipeline": Family(kandinsky_3, LARGE),
    "Lumina2Pipeline": Family(lumina_2, LARGE | {"max_sequence_length": 48}),
    "LuminaPipeline": Family(lumina, LARGE | SHORT),
    "ZImagePipeline": Family(z_image, GUIDED | CHATTY),
    "Flux2KleinPipeline": Family(flux_2_klein, GUIDED | CHATTY),
    "QwenImagePipeline": Family(
        qwen_image, {"true_cfg_scale": 4.0, "negative_prompt": "a dog"} | SIZE | CHATTY
    ),
    "CogView4Pipeline": Family(cogview_4, GUIDED | SHORT),
    "BriaPipeline": Family(bria, GUIDED | SHORT),
    "OvisImagePipeline": Family(ovis_image, GUIDED | CHATTY),
    "Flux2Pipeline": Family(flux_2, GUIDED | {"max_sequence_length": 64}),
    "FluxKontextPipeline": Family(flux_kontext, GUIDED | SHORT | {"max_area": 32 * 32}),
    "LongCatImagePipeline": Family(longcat_image, GUIDED | {"enable_prompt_rewrite": False}),
    "ErnieImagePipeline": Family(ernie_image, LARGE | {"use_pe": False}),
    "ZImageOmniPipeline": Family(z_image_omni, GUIDED | CHATTY),
    "BriaFiboPipeline": Family(bria_fibo, LARGE | SHORT),
    "NucleusMoEImagePipeline": Family(nucleus_moe_image, GUIDED),
    "BriaFibo2Pipeline": Family(bria_fibo_2, GUIDED),
    "Flux2KleinKVPipeline": Family(flux_2_klein_kv, SIZE | CHATTY),
    "SemanticStableDiffusionPipeline": Family(semantic_stable_diffusion, GUIDED),
    "StableDiffusionLDM3DPipeline": Family(stable_diffusion_ldm3d, GUIDED),
    "KandinskyCombinedPipeline": Family(kandinsky_2, LARGE | {"prior_num_inference_steps": 3}),
    "StableUnCLIPPipeline": Family(stable_unclip, GUIDED | {"prior_num_inference_steps": 3}),
    "KandinskyV22CombinedPipeline": Family(kandinsky_2_2, LARGE | {"prior_num_inference_steps": 3}),
    "Ideogram4Pipeline": Family(
        ideogram_4, GUIDED | {"guidance_schedule": None, "max_sequence_length": 64}
    ),
    "QwenImage21Pipeline": Family(
        qwen_image_21,
        {"true_cfg_scale": 4.0, "negative_prompt": "a dog", "use_kv_cache": False}
        | {"height": 64, "width": 64},
    ),
    "CogView3PlusPipeline": Family(cogview_3_plus, GUIDED | SHORT),
    "DreamLiteMobilePipeline": Family(dream_lite_mobile, SIZE),
}
