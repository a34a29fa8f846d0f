"""Classes that can begin with a photo: the diffusers class that does, made of the same parts."""

# Those that `make matrix` holds for: each takes `image` and `strength` beside what its sister does.
IMAGE_TO_IMAGE: dict[str, str] = {
    "StableDiffusionPipeline": "StableDiffusionImg2ImgPipeline",
    "StableDiffusionXLPipeline": "StableDiffusionXLImg2ImgPipeline",
    "StableDiffusion3Pipeline": "StableDiffusion3Img2ImgPipeline",
    "FluxPipeline": "FluxImg2ImgPipeline",
    "StableDiffusionPAGPipeline": "StableDiffusionPAGImg2ImgPipeline",
    "StableDiffusionXLPAGPipeline": "StableDiffusionXLPAGImg2ImgPipeline",
    "StableDiffusion3PAGPipeline": "StableDiffusion3PAGImg2ImgPipeline",
    "ChromaPipeline": "ChromaImg2ImgPipeline",
    "QwenImagePipeline": "QwenImageImg2ImgPipeline",
    "ZImagePipeline": "ZImageImg2ImgPipeline",
    "Kandinsky3Pipeline": "Kandinsky3Img2ImgPipeline",
}
