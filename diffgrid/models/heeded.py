"""What of a prompt and its guidance changes nothing, said before somebody wonders."""

import math
import re

from diffgrid.models.folder import Model
from diffgrid.models.registry import find_model
from diffgrid.spec.checks import shortened
from diffgrid.spec.run import RunSpec

# Of other programs: (word:1.4), [cat:dog:0.5], <lora:name:1>.
FOREIGN = re.compile(r"\([^()]*:[\d.]+\)|\[[^\[\]]*:[^\[\]]*\]|<\w+:[^<>]*>")


def unknown_words(model: Model, prompt: str) -> list[str]:
    """The words of a prompt that no tokenizer of the model knows, as they were written."""
    words = dict.fromkeys(re.findall(r"[^\W\d_]+", prompt)) if model.readers else ()
    return [word for word in words if not any(reader.knows(word) for reader in model.readers)]


def of_length(model: Model, prompt: str, which: str = "prompt") -> str | None:
    """What is said of a prompt that is longer than the model reads."""
    end = max((reader.reads(prompt) for reader in model.readers), default=len(prompt))
    count, trained = len(prompt.split()), model.settings.get("trained_words", math.inf)
    if not (lost := prompt[end:].split()):
        long = f"The {which} has {count} words, and the model was trained on {trained} at most"
        return f"{long}: some may not be heeded." if count > trained else None
    return (
        f"Only the first {count - len(lost)} of {count} words of the {which} are heeded: the model "
        f"has no room for more, and nothing from “{shortened(lost[0])}” on changes anything."
    )


def of_prompt(prompt: str) -> str | None:
    """What it says in words that other programs know and diffusers' pipelines take as they are."""
    if not (found := FOREIGN.search(prompt)):
        return None
    return (
        f"{found[0]} is read as plain words: weights are not known here, and what changes on the "
        "way is a fork that changes the prompt."
    )


def of_guidance(model: Model, guidance: float, negative_prompt: str) -> str | None:
    """What is left of guidance where it is too small to be any (Ho & Salimans, arXiv 2207.12598:
    1 is the conditional prediction alone)."""
    if not model.family.pairs or guidance > 1:
        return None
    if negative_prompt:
        return "The negative prompt is not heeded without guidance: choose one above 1."
    if guidance not in (0, 1):
        return f"Guidance {guidance:g} is none, as 0 and 1 are: this model is guided above 1."
    return None


def unheeded(spec: RunSpec) -> list[str]:
    """A sentence for each thing of a specification that changes nothing.

    Raises:
        BadInput: its model is not here.
    """
    model = find_model(spec.model)
    words = ", ".join(unknown_words(model, spec.prompt))
    told = (
        f"The model does not know these words: {words}." * bool(words),
        of_length(model, spec.prompt),
        of_length(model, spec.negative_prompt, "negative prompt"),
        of_prompt(spec.prompt),
        of_guidance(model, spec.guidance_scale, spec.negative_prompt),
    )
    return [each for each in told if each]
