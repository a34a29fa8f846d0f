"""Lanes and the batches in which their calls meet."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diffgrid.models.registry import specify
from diffgrid.sampling import pipelines, preparation, sampler
from diffgrid.sampling.batches import Call, evaluate, grown
from diffgrid.sampling.lanes import zeros
from diffgrid.spec.run import RunSpec
from tests import tiny
from tests.sampling.plain import first_call
from tests.sampling.recorded import record, whole


class Network(nn.Module):
    """Notes how many rows it is given at once."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.sizes: list[int] = []

    def forward(self, x: Tensor, t: Tensor, **given: Any) -> tuple[Tensor]:
        self.sizes.append(len(x))
        return (x * t + given["words"]["text"].sum(-1, keepdim=True),)


def call(network: Network, value: float, t: float = 2.0) -> Call:
    """With guidance: an unconditional row and one with words."""
    x = torch.tensor([[value], [value + 0.5]])
    words = {"text": torch.tensor([[0.0, 0.0], [value, 1.0]]), "kind": "plain"}
    return Call(network, (x, torch.tensor(t)), {"words": words})


def doubled(single: Call) -> Call:
    x, t = single.args
    words = single.kwargs["words"]
    both = {"text": words["text"].repeat_interleave(2, 0), "kind": "plain"}
    return Call(single.network, (x.repeat_interleave(2, 0), t), {"words": both})


def test_what_grows_with_the_pictures_is_seen_from_calls_for_one_and_two() -> None:
    one = call(Network(), 1.0)
    assert grown(one, doubled(one)) == [0, None, 0, None]
    odd = Call(one.network, (torch.ones(5, 1), one.args[1]), one.kwargs)
    assert grown(one, odd) is None
    assert grown(one, Call(one.network, one.args, {})) is None


@pytest.mark.parametrize("rows", [1, 2, 3, 16])
def test_calls_that_meet_are_one_batch_and_each_gets_its_own_part(rows: int) -> None:
    network = Network()
    calls = [call(network, float(i)) for i in range(5)]
    alone = [each()[0] for each in calls]
    network.sizes.clear()
    together = evaluate(calls, lambda _: [0, None, 0, None], rows)
    assert all(
        torch.equal(made, expected) for (made,), expected in zip(together, alone, strict=True)
    )
    assert max(network.sizes) <= 2 * rows


def test_only_calls_that_agree_in_what_is_one_for_all_are_merged() -> None:
    network = Network()
    calls = [call(network, 1.0), call(network, 2.0, t=3.0), call(network, 3.0)]
    alone = [each()[0] for each in calls]
    together = evaluate(calls, lambda _: [0, None, 0, None], 16)
    assert all(
        torch.equal(made, expected) for (made,), expected in zip(together, alone, strict=True)
    )


def test_calls_whose_axes_nobody_knows_are_evaluated_alone() -> None:
    network = Network()
    evaluate([call(network, float(i)) for i in range(3)], lambda _: None, 16)
    assert network.sizes == [2, 2, 2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tmp_path_factory.mktemp("lanes") / "model")


def spec_for(folder: Path) -> RunSpec:
    return specify(model=str(folder), prompt="a red cat", steps=6, seed=1, guidance=5.0)


def prepare(spec: RunSpec, folder: Path) -> preparation.Prepared:
    pipe = pipelines.load(folder, "float32", torch.device("cpu"))
    return preparation.prepare(pipe, spec, pipelines.build_scheduler(spec))


@pytest.mark.slow
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_what_is_not_looked_at_has_the_shape_of_what_would_be(family: str, tmp_path: Path) -> None:
    own = tiny.save(tmp_path / "model", family=family)
    call_of = tiny.FAMILIES[family].call
    size = {key: call_of[key] for key in ("height", "width") if key in call_of}
    spec = specify(model=str(own), steps=2, **size)
    made = first_call(prepare(spec, own), spec)
    with torch.inference_mode():
        real, nothing = made(), zeros(made)
    pairs = (
        zip(real, nothing, strict=True)
        if isinstance(real, tuple)
        else [(real.sample, nothing.sample)]
    )
    assert all(one.shape == other.shape and one.dtype == other.dtype for one, other in pairs)


def test_words_are_encoded_once_for_all_branches(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_for(folder)
    pipe = pipelines.load(folder, "float32", torch.device("cpu"))
    encoded, inner = [], type(pipe.text_encoder).forward

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        encoded.append(args)
        return inner(self, *args, **kwargs)

    monkeypatch.setattr(type(pipe.text_encoder), "forward", forward)
    prepared = preparation.prepare(pipe, spec, pipelines.build_scheduler(spec))
    record(spec, prepared, whole(spec, "trunk", "1.0", "1.1", "3.0"))
    assert len(encoded) == 2  # the prompt, and the empty one that it is guided away from


def test_calls_that_are_left_behind_turn_nothing_off(folder: Path) -> None:
    spec = spec_for(folder)
    waves = sampler.sample(prepare(spec, folder), spec, whole(spec, "trunk", "1.0"), {})
    next(waves)
    assert torch.is_grad_enabled()
    del waves
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
