"""Which models and schedulers there are, and how a run's options become a full specification.

Reads json and hashes files; never imports torch, so a page or a command can name a run at once.
"""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from diffgrid.errors import BadInput
from diffgrid.limits import Limits
from diffgrid.models.calls import checked_options
from diffgrid.models.families import Family, image_to_image_of
from diffgrid.models.folder import ASSETS, BUNDLED, Model, own_models
from diffgrid.models.hub_list import HUB_MODELS, HubModel, fetching, find_hub_model
from diffgrid.models.loras import digest_of, loras_of
from diffgrid.spec.checks import HARD, check_text
from diffgrid.spec.options import FIRST_MODEL, OPTIONS, SEED
from diffgrid.spec.options import added as added_options
from diffgrid.spec.pipeline_options import canonical_loras
from diffgrid.spec.run import RunSpec, canonical
from diffgrid.spec.schedulers import (
    SCHEDULERS,
    Loop,
    Scheduler,
    find_scheduler,
    loop,
    name_of,
    scheduler_of,
)


def models() -> list[Model]:
    """Every model that can be named and used here, by name alone."""
    return [model for model in named() if trouble(model) is None]


def named() -> Iterator[Model]:
    """Every model that has a name here, whole or not: the bundled, one's own, and the fetched.

    On a public server there are no fetched ones. Where two share a name, the first counts.
    """
    yield from map(_in_the_box, BUNDLED)
    names = set()
    if own := own_models():
        for index in sorted([*own.glob("*/model_index.json"), *own.glob("*/*/model_index.json")]):
            name = index.parent.relative_to(own).as_posix()
            if not name.startswith("."):
                names.add(name)
                yield Model(name, index.parent, "in DIFFGRID_MODELS")
    for hub in to_fetch():
        if hub.id not in names and (hub.folder / "model_index.json").is_file():
            yield Model(hub.id, hub.folder, "on this machine", hub)


def to_fetch() -> tuple[HubModel, ...]:
    """What may be fetched from the hub, or was; nothing on a public server."""
    return () if Limits.from_environment().public else HUB_MODELS


def trouble(model: Model) -> str | None:
    """Why a model cannot be used, in one sentence; None where it can."""
    try:
        model.check()
    except BadInput as error:
        return str(error)
    return None


def find_model(name: str) -> Model:
    """The model of this catalogue name, or the diffusers folder at this path.

    Raises:
        BadInput: neither is there, it is not whole, or its pipeline is not supported.
    """
    if name in BUNDLED:
        return _bundled(name)
    model = next((model for model in named() if model.name == name), None)
    if model is None and (folder := _diffusers_folder(name)):
        model = Model(name, folder)
    if model is None:
        hub = find_hub_model(name)
        if hub in to_fetch():
            raise BadInput(f"model {name!r} is not on this machine: {fetching(hub)}.")
        known = ", ".join(model.name for model in models())
        raise BadInput(
            f"model {name[:60]!r} is not known: use {known}, or the path of a diffusers folder "
            "(one that holds model_index.json)."
        )
    model.check()
    return model


@cache
def _bundled(name: str) -> Model:
    """A model in the box does not change: a look at its files for each grid drawn is too many."""
    model = _in_the_box(name)
    model.check()
    return model


def _in_the_box(name: str) -> Model:
    return Model(name, ASSETS / name, "in the box")


def specify(
    *,
    model: str = FIRST_MODEL,
    prompt: str | None = None,
    negative_prompt: str = "",
    seed: int = SEED,
    scheduler: str | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    eta: float | None = None,
    height: int | None = None,
    width: int | None = None,
    dtype: str | None = None,
    **added: Any,
) -> RunSpec:
    """A full specification from the options people give; None is the model's own choice.

    An `image` is the digest of a picture of the run's size, which the store has (`sharing.photo`).

    Raises:
        BadInput: an option is unknown or out of range, or does not go with the others.
    """
    if strangers := added.keys() - added_options().keys():
        known = ", ".join(option.name for option in OPTIONS)
        raise BadInput(f"option {min(strangers)!r} is not known: use {known}.")
    chosen = find_model(model)
    family, settings = chosen.family, chosen.settings
    kind, config = choose_scheduler(chosen, scheduler)
    if scheduler is not None:
        _check_goes_with(kind, family)
    if eta is not None and not kind.takes_eta:
        takers = " or ".join(other.name for other in SCHEDULERS if other.takes_eta)
        raise BadInput(
            f"eta {eta} is not allowed with {kind.name}: leave it out, or choose {takers}."
        )
    if eta is None and kind.takes_eta:
        eta = settings.get("eta", 0.0)
    steps = settings.get("steps", family.steps) if steps is None else steps
    most = config.get(*kind.most_steps) if kind.most_steps else None
    if isinstance(most, int) and isinstance(steps, int) and steps > most:
        raise BadInput(f"steps {steps} is not allowed with {kind.name}: use 1 to {most}.")
    _check_words(family, prompt, negative_prompt, guidance)
    pipeline = image_to_image_of(family.pipeline) if added.get("image") else family.pipeline
    given = added | {
        "option": checked_options(pipeline, added.get("option") or ""),
        "lora": canonical_loras(check_text("lora", added.get("lora") or "", HARD.max_prompt)),
    }
    if family.guided and guidance is None:
        guidance = settings.get("guidance", family.guidance)
    return RunSpec(
        model=chosen.name,
        digest=digest_of(chosen, loras_of(chosen, given["lora"])),
        prompt=(settings.get("prompt", "") if prompt is None else prompt) * family.prompted,
        negative_prompt=negative_prompt,
        guidance_scale=family.guidance if guidance is None else guidance,
        scheduler=kind.class_name,
        scheduler_config=_canonical(chosen, scheduler, config),
        num_inference_steps=steps,
        eta=eta,
        seed=seed,
        height=chosen.side if height is None else height,
        width=chosen.side if width is None else width,
        dtype=chosen.dtype if dtype is None else dtype,
        added=json.dumps({name: value for name, value in given.items() if value is not None}),
    )


def loop_of(model: str, scheduler: str | None, steps: int, strength: float | None = None) -> Loop:
    """The loop that so many steps make, with a picture of this `strength`; None is the model's own
    scheduler, and noise to begin with.

    Raises:
        BadInput: the model or the scheduler is not known, or the strength out of range.
    """
    if strength is not None:
        strength = added_options()["strength"].check(strength)
    chosen = find_model(model)
    kind, config = choose_scheduler(chosen, scheduler)
    # Views may ask for more than is allowed, and are refused later: until then it stays small.
    steps = max(0, min(steps, Limits().max_steps))
    return loop(kind.class_name, _canonical(chosen, scheduler, config), steps, strength)


def _canonical(model: Model, scheduler: str | None, config: dict[str, Any]) -> str:
    """The configuration as text: with a thousand betas it takes longer than all else of a link."""
    known = model.canonical_configs
    if scheduler not in known:
        known[scheduler] = canonical(config)
    return known[scheduler]


def choose_scheduler(model: Model, name: str | None) -> tuple[Scheduler, dict[str, Any]]:
    """No name means the model's own, as its pipeline leaves it; a name means from_config of that
    one, which takes over what the folder says and no defaults of its class."""
    config = {k: v for k, v in model.scheduler_config.items() if not k.startswith("_")}
    own = model.scheduler_config["_class_name"]
    stands = {**scheduler_of(own).mendable, **config}
    mended = {k: v for k, v in model.family.mends.items() if stands.get(k, v) != v}
    if name is None:
        return find_scheduler(own), {**config, **mended}
    kind = find_scheduler(name)
    return kind, {**config, **{k: mended[k] for k in mended.keys() & config.keys()}, **kind.adds}


def schedulers_of(family: Family) -> list[Scheduler]:
    """The schedulers that go with a pipeline."""
    named = family.schedulers
    return [s for s in SCHEDULERS if s.flow == family.flow and (named is None or s.name in named)]


def _check_goes_with(kind: Scheduler, family: Family) -> None:
    """Whether a pipeline's loop makes sense with a scheduler of this name."""
    allowed = [s.name for s in schedulers_of(family)]
    if kind.name not in allowed:
        raise BadInput(
            f"scheduler {kind.name!r} does not go with a {family.pipeline}: use "
            f"{', '.join(allowed)}, or leave it out."
        )


def _check_words(
    family: Family, prompt: str | None, negative_prompt: str, guidance: float | None
) -> None:
    """Refuse what the pipeline would not heed."""
    given = {
        "prompt": (prompt, family.prompted),
        "negative prompt": (negative_prompt, family.negative),
        "guidance": (guidance not in (None, family.guidance) and guidance, family.guided),
    }
    for name, (value, heeded) in given.items():
        if value and not heeded:
            raise BadInput(
                f"{name} {str(value)[:60]!r} is not heeded by a {family.pipeline}: leave it out."
            )


def scheduler_name(spec: RunSpec) -> str:
    """The short name of a specification's scheduler, for captions and lists."""
    return name_of(spec.scheduler, json.loads(spec.scheduler_config))


def _diffusers_folder(name: str) -> Path | None:
    try:
        folder = Path(name).expanduser().resolve()
        return folder if name and (folder / "model_index.json").is_file() else None
    except (OSError, RuntimeError, ValueError):  # too long, no such user, a NUL in it
        return None
