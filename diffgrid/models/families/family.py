"""What must be known of a pipeline beyond what its own call does."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

Configs = Callable[[str], Mapping[str, Any]]  # the config.json of a part of the model, by its name


class Family:
    """One diffusers pipeline class; the defaults are Stable Diffusion's."""

    kinds: ClassVar[list[type["Family"]]] = []

    pipeline = ""  # the diffusers class
    denoiser = "unet"  # the part that is evaluated at each step
    parts: tuple[str, ...] = ("text_encoder", "tokenizer", "vae")  # what else is fetched of it
    blocks = "block_out_channels"  # where its VAE's configuration has the channels of each level
    prompted = True  # whether it takes a prompt
    negative = True  # whether it takes a negative prompt
    guided = True  # whether it takes a guidance scale
    pairs = True  # whether it is guided by a second, unconditional half, above 1 alone
    guidance = 7.5  # its own default
    steps = 25
    # Whether steps draw their noise from the generator that its call is given, not torch's own;
    # and whether any noise that they draw is what the sampler would draw in its place.
    seeds_steps = True
    draws_in_steps = True
    flow = False  # whether it was trained for flow matching
    schedulers: tuple[str, ...] | None = None  # the only ones its loop can run, by short name
    # What its constructor makes of its scheduler: a class of its own choice, and settings.
    scheduler_class: str | None = None
    mends: ClassVar[Mapping[str, Any]] = {}
    call: ClassVar[Mapping[str, Any]] = {}  # what its call is given besides
    longest: ClassVar[Mapping[str, int]] = {}  # most tokens of a tokenizer, where it has no say

    def __init_subclass__(cls) -> None:
        Family.kinds.append(cls)

    def side(self, configs: Configs) -> int | None:
        """The height and width it was trained for, in pixels, where its configuration says so."""
        latent_side = configs(self.denoiser).get("sample_size")
        blocks = configs("vae").get(self.blocks)
        if not isinstance(latent_side, int) or not isinstance(blocks, list):
            return None
        return int(latent_side * 2 ** (len(blocks) - 1))

    def after_load(self, pipe: Any, dtype: str) -> None:
        """What its pipeline needs before it is used."""

    # Tensors, as its pipeline has them and as they are kept: latents, (n, C, h, w).

    def pack(self, latents: Any, like: Any) -> Any:
        """Latents as its pipeline has them, which has some `like` these."""
        if like.ndim == 3:
            return latents.flatten(2).movedim(1, -1)
        return latents.view(*like.shape[:-2], *latents.shape[-2:])

    def unpack(self, latents: Any, height: int, width: int, pipe: Any) -> Any:
        """Its pipeline's own, for a picture of so many pixels -> (n, C, h, w); tokens, row by row,
        are latents with all that a token holds as channels."""
        if latents.ndim != 3:
            return latents.view(len(latents), -1, *latents.shape[-2:])
        rows = round((latents.shape[1] * height / width) ** 0.5)
        return latents.movedim(-1, 1).unflatten(2, (rows, -1))
