"""What changes nothing is said, and what changes something is not."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

from diffgrid.models.heeded import unheeded
from diffgrid.models.registry import specify
from diffgrid.models.tokens import read
from diffgrid.sampling import pipelines, preparation
from tests import tiny
from tests.sampling.plain import first_call

GUIDED = [name for name in tiny.FAMILIES if name not in ("ddpm", "ddim")]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, []),
        ({"prompt": "a red monster with horns"}, []),
        ({"prompt": "a kind red monster, kind and tall"}, ["words: kind"]),
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


@pytest.mark.slow
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
        given = first_call(prepared, guided).leaves[0]
        halves.append(len(given) == 2)
    said = any("is none" in sentence for sentence in unheeded(spec))
    assert halves == ([False, False, True] if said else [False] * 3)


LONG = "a red monster with two eyes " * 20


AT_MOST = "a round red monster with two eyes and an open mouth and a bare head on a grey background"


@pytest.mark.parametrize(
    "prompt", [LONG, "红色的怪物, a monster", "a kind monster", f"{AT_MOST} and a hat"]
)
def test_the_box_model_says_what_it_has_no_room_for_and_what_it_does_not_know(prompt: str) -> None:
    told = unheeded(specify(prompt=prompt))
    assert len(told) == 1
    assert any(
        word in told[0]
        for word in ("first 22 of 120 words", ": 红色的怪物.", ": kind.", "19 at most")
    )
    assert unheeded(specify(prompt=AT_MOST)) == []


@pytest.mark.slow
@pytest.mark.parametrize("family", GUIDED)
def test_as_many_words_are_heeded_as_the_pipelines_own_tokenizers_keep(
    family: str, tmp_path: Path
) -> None:
    """Words after those change nothing of what the pipeline was about to evaluate."""
    pipe = pipelines.load(tiny.save(tmp_path, family=family), "float32", torch.device("cpu"))
    long = "a cat a dog a red " * 110
    call = tiny.FAMILIES[family].call
    size = {key: call[key] for key in ("height", "width") if key in call}
    (told,) = [
        sentence
        for sentence in unheeded(specify(model=str(tmp_path), prompt=long, **size))
        if "are heeded" in sentence
    ]
    match = re.search(r"first (\d+) of 660 words", told)
    assert match
    kept = int(match[1])
    words = long.split()

    def conditions(prompt: str) -> list[torch.Tensor]:
        spec = specify(model=str(tmp_path), prompt=prompt, steps=2, **size)
        prepared = preparation.prepare(pipe, spec, pipelines.build_scheduler(spec))
        return [value for value in first_call(prepared, spec).leaves if torch.is_tensor(value)]

    def same(one: str, other: str) -> bool:
        return all(map(torch.equal, conditions(one), conditions(other)))

    assert same(" ".join(words[:kept]), long)
    other = "dog" if words[kept - 1] != "dog" else "cat"
    assert not same(" ".join([*words[: kept - 1], other]), long)


def test_clips_tokenizer_is_read_as_transformers_reads_it(tmp_path: Path) -> None:
    """From the two files that Stable Diffusion's folders have in place of tokenizer.json."""
    letters = [*ByteLevel.alphabet()]
    vocabulary = letters + [f"{letter}</w>" for letter in letters]
    merges = [("r", "e"), ("re", "d</w>"), ("c", "a"), ("ca", "t</w>"), ("m", "o"), ("mo", "n")]
    vocabulary += ["".join(pair) for pair in merges] + ["<|startoftext|>", "<|endoftext|>"]
    (tmp_path / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(vocabulary)}))
    lines = ["#version: 0.2", *map(" ".join, merges)]
    (tmp_path / "merges.txt").write_text("\n".join(lines))
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 12}')
    reader = read(tmp_path)
    assert reader
    theirs = CLIPTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    for prompt in ("a Red cat, isn't it?", "ÉTÉ 2024: 红色的怪物", "monster's  \n horns!!", ""):
        ids = theirs(prompt, add_special_tokens=False)["input_ids"]
        assert reader._encoded(prompt).ids == ids
    assert reader.reads("red " * 10) == len("red " * 10)
    assert reader.reads("red " * 11) == len("red " * 10)  # there are two ends
    assert reader.knows("red")
    assert not reader.knows("红色")


def test_a_tokenizer_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    assert read(tmp_path) is None
    (tmp_path / "tokenizer_config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "Nothing"}}')
    assert read(tmp_path) is None
