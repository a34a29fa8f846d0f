"""A prompt put together of the words a model knows, and read back."""

import random
import re
from collections.abc import Mapping

from diffgrid.models.folder import Model
from diffgrid.spec.path import Path
from diffgrid.spec.run import RunSpec, conditions

Picked = dict[str, str]  # factor -> the words for its value; what is left to chance is not in it

NAMED_BY_SURPRISE = 0.45  # the share of factors; the others are what the grid is for


def compose(model: Model, picked: Mapping[str, str]) -> str:
    """The prompt that names these values: "a spotted green monster with two eyes and horns"."""
    form = model.settings["sentence"]
    adjectives = [picked[factor] for factor in form["adjectives"] if factor in picked]
    parts = [picked[factor] for factor in form["parts"] if factor in picked]
    words = [*adjectives, form["noun"]]
    sentence = f"{'an' if words[0][:1] in 'aeiou' else 'a'} {' '.join(words)}"
    if parts:
        sentence += f" with {' and '.join(filter(None, [', '.join(parts[:-1]), parts[-1]]))}"
    if place := picked.get(form["place"]):
        sentence += f" on {'an' if place[0] in 'aeiou' else 'a'} {place} {form['place']}"
    return sentence


def read(model: Model, prompt: str) -> Picked:
    """The values that a prompt names."""
    place = model.settings["sentence"]["place"]
    picked: Picked = {}
    text = " ".join(re.findall(r"[a-z]+", prompt.lower()))
    for factor in (place, *model.factors):  # first the place: its colours are the body's too
        for value in model.factors[factor]:
            words = value.removeprefix("a ").removeprefix("an ")
            if factor == place:
                words += f" {place}"
            if factor not in picked and re.search(rf"\b{re.escape(words)}\b", text):
                picked[factor] = value
                text = re.sub(rf"\b{re.escape(words)}\b", "", text, count=1)
    return picked


def named(model: Model, spec: RunSpec, path: Path) -> Picked:
    """The values that the prompt names under which a path ends."""
    return read(model, conditions(spec, path).prompt) if model.sentence else {}


def surprise(model: Model) -> str:
    """A prompt that names some values, drawn at random."""
    named = {
        f: values for f, values in model.factors.items() if random.random() < NAMED_BY_SURPRISE
    }
    return compose(model, {factor: random.choice(values) for factor, values in named.items()})
