"""What changes nothing is said, and what changes something is not."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diffgrid.models.heeded import unheeded
from diffgrid.models.registry import specify
from diffgrid.sampling import pipelines, preparation
from tests import tiny

GUIDED = [name for name in tiny.FAMILIES if name not in ("ddpm", "ddim")]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, []),
        ({"prompt": "a red monster with horns"}, []),
        ({"prompt": "a kind red monster, kind and tall"}, ["one: kind"]),
        ({"prompt": "a (red:1.4) monster"}, ["(red:1.4) is read as plain words"]),
        ({"prompt": "a [red:blue:0.5] monster"}, ["[red:blue:0.5] is read as plain words"]),
        ({"prompt": "a monster (with horns): a red monster"}, []),
        ({"guidance": 0.3}, ["Guidance 0.3 is none, as 0 and 1 are"]),
        ({"guidance": 0.0}, []),
        ({"guidance": 1.0}, []),
        ({"guidance": 1.0, "negative_prompt": "blue"}, ["negative prompt is not heeded without"]),
        ({"guidance": 1.5, "negative_prompt": "blue"}, []),
    ],
)
def test_each_thing_that_changes_nothing_is_a_sentence(
    options: dict[str, object], said: list[str]
) -> None:
    told = unheeded(specify(**options))  # type: ignore[arg-type]
    assert len(told) == len(said)
    assert all(words in sentence for words, sentence in zip(said, told, strict=True))


@pytest.mark.parametrize("family", GUIDED)
def test_models_are_guided_above_1_alone_where_they_have_an_unconditional_half(
    family: str, tmp_path: Path
) -> None:
    """What the pipeline itself was about to evaluate, held against what is said."""
    pipe = pipelines.load(tiny.save(tmp_path, family=family), "float32", torch.device("cpu"))
    spec = specify(model=str(tmp_path), prompt="a red cat", steps=2, guidance=0.5)
    halves = []
    for guidance in (0.5, 1.0, 1.5):
        guided = replace(spec, guidance_scale=guidance)
        prepared = preparation.prepare(pipe, guided, pipelines.build_scheduler(guided))
        halves.append(vars(prepared.denoise)["guidance_scale"] is not None)
    said = any("is none" in sentence for sentence in unheeded(spec))
    assert halves == ([False, False, True] if said else [False] * 3)
