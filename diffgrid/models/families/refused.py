"""Pipelines that cannot be sampled, and why: what is told whoever brings one."""

_CONTROL = "it is led by a control picture, which a run has no room for"
_SCHEDULER = "its scheduler is not known here"
_REMEMBERS = "its guidance remembers the outputs of the steps before"
_ONE_SIZE = "it makes as many pixels whatever is asked for, to which no previews can be fitted"

REFUSED: dict[str, str] = {
    "IFPipeline": "its steps take a variance from the network, which a run has no room for",
    "HunyuanImagePipeline": _REMEMBERS,
    "StableDiffusionPipelineSafe": _REMEMBERS,
    "HiDreamImagePipeline": _ONE_SIZE,
    "Kandinsky5T2IPipeline": _ONE_SIZE,
    "StableDiffusionPanoramaPipeline": "each of its steps is several of a scheduler",
    "DiTPipeline": "each of its steps is of two pictures at once, and of a class, not words",
    "StableDiffusionSAGPipeline": "it reads what its network kept of its last call, which in a "
    "batch was another's",
    "DreamLitePipeline": "its own call cannot make two pictures, from which batches are learnt",
    "GlmImagePipeline": "a language model draws tokens first, with the noise's own generator",
    "HeliosPipeline": "it makes videos",
    "HeliosPyramidPipeline": "it makes videos",
    "PRXPixelPipeline": "its noise is twice what its scheduler takes it for",
    "SanaSprintPipeline": _SCHEDULER,
    "StableCascadeCombinedPipeline": _SCHEDULER,
    "WuerstchenCombinedPipeline": _SCHEDULER,
    "ConsistencyModelPipeline": _SCHEDULER,
    "Krea2Pipeline": "it needs the package accelerate, without which it could not be tried",
    "PRXPipeline": "it needs the package ftfy, without which it could not be tried",
    "KolorsPipeline": "it needs the package sentencepiece, without which it could not be tried",
    "OmniGenPipeline": "it needs the package torchvision, without which it could not be tried",
    "Cosmos2TextToImagePipeline": "it does not run without a safety checker of its own",
    "CogView4ControlPipeline": _CONTROL,
    "FluxControlPipeline": _CONTROL,
    "FluxControlNetPipeline": _CONTROL,
    "QwenImageControlNetPipeline": _CONTROL,
    "StableDiffusionControlNetPipeline": _CONTROL,
    "StableDiffusionControlNetPAGPipeline": _CONTROL,
    "StableDiffusionXLControlNetPipeline": _CONTROL,
    "StableDiffusionXLControlNetPAGPipeline": _CONTROL,
    "StableDiffusionXLControlNetUnionPipeline": _CONTROL,
    "StableDiffusion3ControlNetPipeline": _CONTROL,
    "ZImageControlNetPipeline": _CONTROL,
    "ZImageControlNetInpaintPipeline": _CONTROL,
}
