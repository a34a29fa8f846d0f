"""Pipelines with no prompt, which diffuse pixels: x_t is a picture in -1 … 1."""

from diffgrid.models.families.family import Configs, Family


class DDPM(Family):
    """Its loop neither scales the denoiser's input nor the initial noise."""

    pipeline = "DDPMPipeline"
    parts = ()
    prompted = negative = guided = pairs = False
    guidance = 1.0
    schedulers: tuple[str, ...] = (
        "ddpm",
        "ddim",
        "lcm",
        "dpmsolver",
        "dpmsolver_sde",
        "dpmsolver_3m",
        "dpmsolver_singlestep",
        "sasolver",
        "cogvideox_ddim",
    )

    def side(self, configs: Configs) -> int | None:
        side = configs(self.denoiser).get("sample_size")
        return side if isinstance(side, int) else None


class DDIM(DDPM):
    """It makes whatever scheduler it is given into DDIM."""

    pipeline = "DDIMPipeline"
    schedulers = ("ddim",)
    scheduler_class = "DDIMScheduler"
