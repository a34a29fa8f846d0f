"""The studies that came along, and which there are to choose from."""

import gzip
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import diffgrid.decisions.results as shelf
from diffgrid.app.text import described, quoted
from diffgrid.decisions.results import Results
from diffgrid.spec.run import RunSpec

OWN = "own"  # the choice that is no file's name


def bundled_results(name: str) -> Results:
    """What the study of this file's name found."""
    return _results(shelf.STUDIES / name)


def choices(spec: RunSpec, known: bool) -> dict[str, RunSpec]:
    """What was studied, by its file's name; `OWN` is this specification itself, where it is known.

    Its own study takes the place of one that came along.
    """
    found = dict(sorted(_specs(shelf.STUDIES).items(), key=lambda each: described(each[1])))
    if known:
        found = {OWN: spec} | {n: other for n, other in found.items() if not same(other, spec)}
    return found


def told_apart(choices: Mapping[str, RunSpec]) -> dict[str, str]:
    """Each of them in as many words as tell it from the others."""
    prompts = {spec.prompt for spec in choices.values()}
    models = {spec.digest for spec in choices.values()}
    names = {}
    for name, spec in choices.items():
        words = [quoted(spec, 28)] if len(prompts) > 1 else []
        words += [described(spec)]
        words += [Path(spec.model).name] if len(models) > 1 else []
        names[name] = ", ".join(words)
    return names


def same(one: RunSpec, other: RunSpec) -> bool:
    """Whether they differ in the seed at most; weights go by their digest, not by their folder."""
    return replace(one, seed=0, model="") == replace(other, seed=0, model="")


def nearest(spec: RunSpec, choices: Mapping[str, RunSpec]) -> str | None:
    """The one that has most in common with a specification: the model first, then the prompt."""

    def distance(name: str) -> tuple[bool, bool, bool, bool, float]:
        other = choices[name]
        steps = abs(math.log(other.num_inference_steps / spec.num_inference_steps))
        guidance = abs(other.guidance_scale - spec.guidance_scale)
        return (
            not same(other, spec),
            other.digest != spec.digest,
            other.prompt != spec.prompt,
            other.scheduler_config != spec.scheduler_config,
            steps + guidance,
        )

    return min(choices, key=distance, default=None)


@lru_cache(maxsize=8)
def _specs(folder: Path) -> dict[str, RunSpec]:
    return {
        file.name: RunSpec.from_dict(json.loads(gzip.decompress(file.read_bytes()))["plan"]["spec"])
        for file in sorted(folder.glob("*.json.gz"))
    }


@lru_cache(maxsize=8)
def _results(file: Path) -> Results:
    return Results.from_record(file.read_bytes())
