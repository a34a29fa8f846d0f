"""The gallery maker, on a tiny model with random weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diffgrid.engine.local import LocalEngine
from diffgrid.models.hub_list import HubModel
from diffgrid.records.trajectories import from_bytes
from examples import gallery
from tests import tiny

pytestmark = pytest.mark.slow

PROMPTS = """# ours
a red cat

a blue <dog> & "cat"
a red cat
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.save(tmp_path_factory.mktemp("tiny") / "model"))


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    file = tmp_path / "prompts.txt"
    file.write_text(PROMPTS, "utf-8")
    return str(file)


def make(out: Path, *arguments: str) -> dict[str, Any]:
    small = ["--rows=2", "--columns=2", "--steps=4"]
    assert gallery.main(["--out", str(out), *small, *arguments]) == 0
    content: dict[str, Any] = json.loads((out / "gallery.json").read_text("utf-8"))
    return content


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert gallery.main(arguments) == 2
    return capsys.readouterr().err


def test_each_prompt_becomes_a_grid_with_its_runs(tmp_path: Path, model: str, prompts: str) -> None:
    out = tmp_path / "made" / "here"
    made = make(out, "--model", model, "--prompts", prompts, "--device=cpu")
    assert [grid["prompt"] for grid in made["grids"]] == ["a red cat", 'a blue <dog> & "cat"']
    for grid in made["grids"]:
        with Image.open(out / grid["picture"]) as picture:
            assert picture.size == (grid["width"], grid["height"])
            assert grid["key"] in str(picture.info)
        assert grid["device"] == "cpu"
        assert grid["evaluations"]["sampled"] == grid["evaluations"]["minimum"]
        for name in {grid["key"], *(cell["key"] for cell in grid["cells"])}:
            run = from_bytes((out / "runs" / f"{name}.diffgrid").read_bytes())
            assert run.key == name
            assert run.done
            assert run.spec.digest == made["digest"]
            assert np.isfinite(run.latents).all()


def test_the_page_shows_every_grid_and_escapes_what_people_wrote(
    tmp_path: Path, model: str, prompts: str
) -> None:
    made = make(tmp_path, "--model", model, "--prompts", prompts)
    page = (tmp_path / "index.html").read_text("utf-8")
    assert "a blue &lt;dog&gt; &amp; &quot;cat&quot;" in page
    assert "<dog>" not in page
    for grid in made["grids"]:
        assert f'src="{grid["picture"]}"' in page
    assert made["digest"] in page


def test_what_is_finished_is_not_made_again(
    tmp_path: Path, model: str, prompts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = make(tmp_path, "--model", model, "--prompts", prompts)
    with monkeypatch.context() as patch:
        patch.setattr(LocalEngine, "submit", None)
        assert make(tmp_path, "--model", model, "--prompts", prompts)["grids"] == before["grids"]
    lost = before["grids"][1]
    (tmp_path / lost["picture"]).unlink()
    again = make(tmp_path, "--model", model, "--prompts", prompts)["grids"]
    assert again[0] == before["grids"][0]
    assert (tmp_path / lost["picture"]).exists()
    assert again[1]["evaluations"]["sampled"] == 0  # the store had it


def test_a_gallery_that_is_none_is_made_anew(tmp_path: Path, model: str, prompts: str) -> None:
    (tmp_path / "gallery.json").write_text('{"grids": [{"picture": 3}]}', "utf-8")
    assert len(make(tmp_path, "--model", model, "--prompts", prompts)["grids"]) == 2


def test_other_settings_make_another_grid(tmp_path: Path, model: str, prompts: str) -> None:
    first = make(tmp_path, "--model", model, "--prompts", prompts)["grids"]
    wider = make(tmp_path, "--model", model, "--prompts", prompts, "--columns=3")["grids"]
    reseeded = make(tmp_path, "--model", model, "--prompts", prompts, "--seed=8")["grids"]
    assert len(wider[0]["cells"]) == 6
    assert wider[0]["evaluations"]["reused"]
    assert reseeded[0]["picture"] != first[0]["picture"]


def test_runs_can_be_left_out(tmp_path: Path, model: str, prompts: str) -> None:
    make(tmp_path, "--model", model, "--prompts", prompts, "--no-runs")
    assert not (tmp_path / "runs").exists()


def test_a_listed_model_that_is_not_here_is_fetched(
    tmp_path: Path, prompts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(model: HubModel, *, show: bool) -> None:
        """What the network would bring."""
        tiny.stable_diffusion().save_pretrained(model.folder, variant=model.variant)

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(gallery, "fetch", fetch)
    made = make(tmp_path / "out", "--model=stabilityai/sd-turbo", "--prompts", prompts)
    assert made["model"] == "stabilityai/sd-turbo"
    assert len(made["grids"]) == 2


def test_wrong_options_are_one_plain_line(
    tmp_path: Path, model: str, prompts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out"), "--model", model]
    assert "cannot be read" in fails(capsys, *out, "--prompts", str(tmp_path / "none.txt"))
    (tmp_path / "empty.txt").write_text("# nothing\n\n", "utf-8")
    assert "holds no prompt" in fails(capsys, *out, "--prompts", str(tmp_path / "empty.txt"))
    assert "rows 0" in fails(capsys, *out, "--rows=0")
    assert "room for a fork" in fails(capsys, *out, "--steps=1")
    assert "is not known" in fails(capsys, "--out", str(tmp_path / "out"), "--model=nobody/nothing")
    assert not (tmp_path / "out").exists()  # nothing was begun
    assert "cannot be made" in fails(capsys, "--out", prompts, "--model", model)


def test_our_own_prompts_serve_where_none_are_given() -> None:
    assert len(set(gallery.PROMPTS)) == 8
