"""diffgrid in Python: what notebooks rely on."""

import html
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path as Folder
from typing import Any
from urllib.parse import quote_plus

import numpy as np
import pytest
from PIL import Image

import diffgrid
from diffgrid import api
from diffgrid.browser import finished
from diffgrid.engine.local import LocalEngine
from diffgrid.engine.protocol import Snapshot
from diffgrid.errors import BadInput
from diffgrid.models.registry import find_model
from diffgrid.records.frames import Decoding
from diffgrid.sharing.foreign import opened, opened_file
from diffgrid.sharing.view import View
from diffgrid.spec.path import Fork, format_path
from diffgrid.spec.run import key
from diffgrid.store.forgiving import TrajectoryStore
from tests import tiny

STEPS = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return tiny.save(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> LocalEngine:
    return LocalEngine(TrajectoryStore(tmp_path_factory.mktemp("api")), "cpu")


@pytest.fixture(scope="module")
def g(folder: Folder, engine: LocalEngine) -> diffgrid.Grid:
    return diffgrid.grid(
        model=str(folder),
        prompt="a red <cat> & dog",
        seed=3,
        steps=STEPS,
        rows=[0, 2],
        columns=3,
        engine=engine,
    )


def test_a_trajectory_has_the_promised_shapes(g: diffgrid.Grid) -> None:
    for trajectory in (g.trunk, g.cell(0, 1), g.cell(1, 2)):
        assert trajectory.latents.shape[0] == STEPS + 1
        assert trajectory.latents.ndim == 4
        assert trajectory.latents.dtype == np.float32
        assert trajectory.pred_original_sample.shape == (STEPS, *trajectory.latents.shape[1:])
        assert trajectory.timesteps.shape == (STEPS,)
        assert (np.diff(trajectory.timesteps) < 0).all()
        assert isinstance(trajectory.image, Image.Image)
        assert trajectory.image.size == (g.spec.width, g.spec.height)
        assert len(trajectory.x0_images) == STEPS
        assert trajectory.spec is not None


@pytest.fixture
def here(engine: LocalEngine, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who names no engine gets this one, and the model has a name."""
    monkeypatch.setattr(api, "default_engine", lambda: engine)
    monkeypatch.setenv("DIFFGRID_MODELS", str(folder.parent))


def test_cells_are_found_by_row_and_column(g: diffgrid.Grid) -> None:
    assert g.trunk.path == ()
    assert g.cell(0, 1).path == (Fork(0, 1),)
    assert g.cell(1, 2).path == (Fork(2, 2),)
    assert g.cell(1, 2).spec == g.spec
    with pytest.raises(IndexError):
        g.cell(2, 0)


def test_a_frame_has_a_line_a_cell(g: diffgrid.Grid) -> None:
    frame = g.to_frame()
    assert list(frame.columns) == ["row", "column", "path", "step", "timestep", "alpha_bar", "key"]
    assert list(frame["path"]) == ["0.0", "0.1", "0.2", "2.0", "2.1", "2.2"]
    assert list(frame["step"]) == [0, 0, 0, 2, 2, 2]
    assert list(frame["key"]) == [key(g.spec, cell.path) for row in g.cells for cell in row]
    assert frame["alpha_bar"].between(0, 1).all()
    assert frame["alpha_bar"].is_monotonic_increasing
    assert (frame["timestep"] == g.trunk.timesteps[frame["step"]]).all()


def test_a_report_holds_costs_that_add_up_and_goes_into_json(g: diffgrid.Grid) -> None:
    report = json.loads(json.dumps(g.report()))
    assert set(report) == {"key", "evaluations", "seconds", "unheeded", "cells"}
    assert report["key"] == key(g.spec, ())
    costs = report["evaluations"]
    assert set(costs) == {"sampled", "reused", "shared", "minimum", "naive"}
    assert costs["minimum"] == STEPS + 3 * (STEPS - 1) + 3 * (STEPS - 3)
    assert costs["minimum"] == costs["sampled"] + costs["reused"]
    assert costs["naive"] == costs["minimum"] + costs["shared"] == 7 * STEPS
    assert [set(cell) for cell in report["cells"]] == [{"path", "step", "timestep", "key"}] * 6


def test_the_picture_can_be_saved_and_holds_its_recipe(
    g: diffgrid.Grid, folder: Folder, tmp_path: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    g.save(tmp_path / "grid.png")
    g.save(str(tmp_path / "again.png"))
    assert (tmp_path / "grid.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    picture = Image.open(tmp_path / "grid.png")
    assert picture.format == "PNG"
    recipe = json.loads(picture.info["diffgrid"])
    assert recipe["key"] == g.trunk.key
    assert recipe["view"]["prompt"] == g.spec.prompt
    assert str(folder) not in str(picture.info)  # where a model lies is nobody's business
    monkeypatch.setenv("DIFFGRID_MODELS", str(folder.parent))
    found = opened_file(tmp_path / "grid.png").view.grid()
    assert (found.paths, key(found.spec, ())) == (g.request.paths, g.trunk.key)


def test_a_grid_and_a_trajectory_can_be_saved_as_runs_and_opened(
    g: diffgrid.Grid, tmp_path: Folder
) -> None:
    g.save(tmp_path / "grid.diffgrid")
    g.cell(1, 2).save(str(tmp_path / "cell.diffgrid"))
    found = diffgrid.open_runs(tmp_path / "grid.diffgrid")
    every = [g.trunk, *(cell for row in g.cells for cell in row)]
    assert [run.key for run in found] == [run.key for run in every]
    (cell,) = diffgrid.open_runs(str(tmp_path / "cell.diffgrid"))
    assert np.array_equal(cell.latents, g.cell(1, 2).latents)
    assert cell.image.tobytes() == g.cell(1, 2).image.tobytes()
    assert (cell.path, cell.made, cell.spec.model) == (g.cell(1, 2).path, g.trunk.made, "model")
    assert cell.strip().startswith(b"\x89PNG")
    with pytest.raises(BadInput, match="grid.png' cannot be read as a file of runs"):
        diffgrid.open_runs(tmp_path / "grid.png")


def test_a_grid_is_saved_as_what_its_name_ends_in(
    g: diffgrid.Grid, here: None, tmp_path: Folder
) -> None:
    for name in ("grid.HTML", "grid.webp", "grid.gif", "grid"):
        g.save(tmp_path / name)
    page = opened((tmp_path / "grid.HTML").read_bytes())
    assert page.view.grid().paths == g.request.paths
    assert (tmp_path / "grid.HTML").read_text("utf-8") == g.to_html()
    kinds = {name: Image.open(tmp_path / name) for name in ("grid.webp", "grid.gif", "grid")}
    assert {name: (kind.format, getattr(kind, "n_frames", 1)) for name, kind in kinds.items()} == {
        "grid.webp": ("WEBP", STEPS + 1),
        "grid.gif": ("GIF", STEPS + 1),
        "grid": ("PNG", 1),
    }


def test_a_strip_can_be_saved(
    g: diffgrid.Grid, folder: Folder, tmp_path: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    g.cell(1, 0).save(tmp_path / "strip.png")
    recipe = json.loads(Image.open(tmp_path / "strip.png").info["diffgrid"])
    assert recipe["path"] == "2.0"
    monkeypatch.setenv("DIFFGRID_MODELS", str(folder.parent))
    found = opened_file(tmp_path / "strip.png")
    assert (found.kind, found.path, found.view.path) == ("strip", *[g.cell(1, 0).path] * 2)
    beside = opened(g.cell(1, 0).strip(View.of(g.request)))  # as the app gives it away
    assert (beside.path, beside.view.grid().paths) == (found.path, g.request.paths)


def test_a_picture_in_a_notebook_holds_its_recipe(
    g: diffgrid.Grid, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFGRID_MODELS", str(folder.parent))
    data = g.trunk._repr_png_()
    assert opened(data).kind == "cell"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), np.asarray(g.trunk.image))


@pytest.fixture(scope="module")
def previewed(tmp_path_factory: pytest.TempPathFactory, engine: LocalEngine) -> diffgrid.Grid:
    """A grid of a model whose VAE is too dear for previews."""
    folder = tmp_path_factory.mktemp("heavy")
    tiny.heavy().save_pretrained(folder)
    return diffgrid.grid(
        model=str(folder), prompt="a cat", steps=2, rows=[0], columns=1, engine=engine
    )


@pytest.mark.slow
def test_approximate_pictures_say_so_in_every_sheet(
    g: diffgrid.Grid, previewed: diffgrid.Grid
) -> None:
    shown = previewed.trunk
    assert shown.x0_way == "linear"
    assert "of 255 off" in shown.x0_note
    plain = replace(shown, frames=replace(shown.frames, decoding=Decoding()))
    for noted, other in (
        (shown.strip(), plain.strip()),
        (previewed.picture(), replace(previewed, trunk=plain).picture()),
    ):
        ours, theirs = (Image.open(io.BytesIO(png)) for png in (noted, other))
        assert ours.height > theirs.height  # a line at its foot
        assert json.loads(ours.info["diffgrid"])["note"] == shown.x0_note
        assert "note" not in json.loads(theirs.info["diffgrid"])
    assert (g.trunk.x0_way, g.trunk.x0_note) == ("vae", "")


def test_a_trajectory_is_decoded_exactly_where_that_is_asked_for(
    previewed: diffgrid.Grid, engine: LocalEngine
) -> None:
    spec = previewed.spec
    exact = diffgrid.trajectory(
        model=spec.model, prompt=spec.prompt, steps=2, exact=True, engine=engine
    )
    assert exact.key == previewed.trunk.key
    assert (exact.x0_way, exact.x0_note) == ("exact", "")
    assert "note" not in json.loads(Image.open(io.BytesIO(exact.strip())).info["diffgrid"])


def test_the_picture_does_not_depend_on_what_it_cost(g: diffgrid.Grid, engine: LocalEngine) -> None:
    again = diffgrid.grid(
        model=g.spec.model,
        prompt=g.spec.prompt,
        seed=3,
        steps=STEPS,
        rows=np.array([2, 0]),
        columns=3,
        engine=engine,
    )
    assert again.evaluations["sampled"] == 0
    assert again.picture() == g.picture()


def test_notebooks_get_a_page_and_a_picture_and_a_prompt_cannot_break_out_of_them(
    g: diffgrid.Grid, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = g._repr_html_()
    picture = r'<img alt="[^"<>]*" src="data:image/webp;base64,[^"]*" style="[^"]*">'
    frame = r'<iframe title="[^"<>]*" style="[^"]*" sandbox="[^"]*" srcdoc="([^"<>]*)"></iframe>'
    found = re.fullmatch(f'<div style="[^"]*">{picture}{frame}</div>', shown)
    assert found
    assert "a red &lt;cat&gt; &amp; dog" in shown
    page = html.unescape(found[1])
    assert opened(page.encode()).view.prompt == g.spec.prompt
    assert len(page.encode()) < api.LARGEST_OUTPUT
    monkeypatch.setattr(api, "LARGEST_OUTPUT", 1000)  # a grid that is too large for a notebook
    assert re.fullmatch(picture, g._repr_html_())
    png = g.cell(0, 0)._repr_png_()
    assert Image.open(io.BytesIO(png)).size == g.trunk.image.size


def test_no_page_says_where_a_model_lies(
    g: diffgrid.Grid, engine: LocalEngine, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "default_engine", lambda: engine)
    page = g.to_html(address="https://example.org/")
    assert f"?model={folder.name}&amp;" in page
    for written in (page, html.unescape(g._repr_html_())):
        assert f"--model {folder.name} " in written
        for place in (str(folder.parent), folder.parent.name):
            assert place not in written
            assert quote_plus(place) not in written


def test_a_notebooks_page_reads_nothing_of_what_is_behind(
    g: diffgrid.Grid, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr(finished, "stored_frames", lambda _, name: read.append(name))
    g._repr_html_()
    assert not read
    g.to_html()
    assert read


def test_in_a_terminal_each_is_one_line(g: diffgrid.Grid) -> None:
    steps = ", ".join(map(str, g.request.rows))
    count = len(g.request.rows) * len(g.cells[0])
    assert repr(g).startswith(f"<Grid of {count} cells at steps {steps}; '")
    assert repr(g.cells[0][1]).startswith("<Trajectory '")
    assert f"{format_path(g.cells[0][1].path)}, seed " in repr(g.cells[0][1])
    assert len(repr(g)) < 300


def test_one_trajectory_is_the_grids_cell(
    g: diffgrid.Grid, engine: LocalEngine, folder: Folder
) -> None:
    alone = diffgrid.trajectory(
        model=str(folder), prompt=g.spec.prompt, seed=3, steps=STEPS, path="2.1", engine=engine
    )
    assert alone.path == (Fork(2, 1),)
    np.testing.assert_array_equal(alone.latents, g.cell(1, 1).latents)


@pytest.mark.slow
def test_the_branch_that_is_in_view_gives_its_slot_to_the_path_it_left(
    engine: LocalEngine, folder: Folder, g: diffgrid.Grid
) -> None:
    rerooted = diffgrid.grid(
        model=str(folder),
        prompt=g.spec.prompt,
        seed=3,
        steps=STEPS,
        rows=[0, 2],
        columns=2,
        path="0.1",
        engine=engine,
    )
    assert [[format_path(cell.path) for cell in row] for row in rerooted.cells] == [
        ["0.0", "trunk"],
        ["0.1/2.0", "0.1/2.1"],
    ]
    assert rerooted.evaluations["sampled"] == 2 * (STEPS - 3)


def test_the_model_is_loaded_once_for_all_calls(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffgrid.sampling import pipelines

    load, loads = pipelines.load, []

    def counted(*args: Any) -> object:
        loads.append(args)
        return load(*args)

    monkeypatch.setattr(pipelines, "load", counted)
    api.default_engine.cache_clear()  # this test's cache directory, not an earlier one's
    try:
        for seed in (1, 2):
            made = diffgrid.grid(model=str(folder), seed=seed, steps=2, rows=[0], columns=1)
            assert made.evaluations["sampled"] == made.evaluations["minimum"]
        diffgrid.trajectory(model=str(folder), seed=3, steps=2)
    finally:
        api.default_engine.cache_clear()
    assert len(loads) == 1


@pytest.mark.slow
def test_the_bundled_model_is_the_default(engine: LocalEngine) -> None:
    made = diffgrid.grid(steps=2, columns=1, engine=engine)
    side = find_model("monsters").side
    assert made.spec.model == "monsters"
    assert made.request.rows == (0,)
    assert made.trunk.image.size == (side, side)
    assert made.cell(0, 0).image != made.trunk.image


@pytest.mark.slow
def test_one_step_makes_a_grid_without_rows(engine: LocalEngine, folder: Folder) -> None:
    made = diffgrid.grid(model=str(folder), steps=1, engine=engine)
    assert made.cells == ()
    assert made.to_frame().empty
    assert Image.open(io.BytesIO(made.picture())).format == "PNG"


def test_a_watcher_sees_the_job_to_its_end(engine: LocalEngine, folder: Folder) -> None:
    seen: list[Snapshot] = []
    diffgrid.trajectory(model=str(folder), steps=3, seed=9, engine=engine, watch=seen.append)
    assert seen[-1].state == "done"
    assert seen[-1].sampled == seen[-1].minimum == 3


@pytest.mark.parametrize("make", [diffgrid.grid, diffgrid.trajectory])
def test_an_unknown_option_is_refused_by_name(make: Callable[..., object]) -> None:
    with pytest.raises(BadInput, match="option 'num_steps' is not known: use model, prompt, "):
        make(num_steps=3)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"rows": 3}, "rows 3 are not allowed"),
        ({"rows": [0.5]}, r"rows \[0.5\] are not allowed"),
        ({"rows": "0,2"}, "rows '0,2' are not allowed"),
        ({"rows": [24]}, "row 24 is not allowed: with 25 steps, choose one from 0 to 23"),
        ({"rows": [5, 5]}, "rows '5,5' are not allowed"),
        ({"path": 5.2}, "path 5.2 is not allowed: write it as text"),
        ({"path": None}, "path None is not allowed"),
        ({"columns": 2.0}, "columns 2.0 is not allowed"),
        ({"columns": 65}, "columns 65 is not allowed: use a whole number from 1 to 64"),
        ({"seed": "7"}, "seed '7' is not allowed"),
        ({"seed": True}, "seed True is not allowed"),
        ({"steps": 2.5}, "steps 2.5 is not allowed"),
        ({"guidance": "3"}, "guidance '3' is not allowed"),
        ({"prompt": 3}, "prompt 3 is not allowed"),
    ],
)
def test_values_of_the_wrong_kind_are_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        diffgrid.grid(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_a_folder_is_no_file_to_write(name: str) -> None:
    with pytest.raises(BadInput, match=r"out '.*' cannot be written \(.+\)"):
        api.write(("out", name, b"picture"))


def test_files_are_written_all_or_none(tmp_path: Folder) -> None:
    kept = tmp_path / "old.png"
    kept.write_bytes(b"old")
    with pytest.raises(BadInput, match=r"json '.*' cannot be written \(Is a directory\)"):
        api.write(
            ("out", kept, b"new"),
            ("out", tmp_path / "new.png", b"picture"),
            ("json", tmp_path, b"{}"),
        )
    assert [file.name for file in tmp_path.iterdir()] == ["old.png"]
