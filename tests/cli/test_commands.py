"""The command line: what it makes, what it says, and that bad input leaves nothing behind."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path as Folder
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
from PIL import Image

from diffgrid import api
from diffgrid.cli import commands
from diffgrid.cli.main import main
from diffgrid.cli.parser import build_parser
from diffgrid.models.hub_list import HubModel
from diffgrid.records.frames import encode
from diffgrid.sharing import runs_file
from diffgrid.sharing.address import from_query
from diffgrid.sharing.foreign import opened_file
from diffgrid.spec.path import parse_path
from diffgrid.spec.schedulers import scheduler_of
from diffgrid.store.disk import DiskShelf
from diffgrid.store.forgiving import TrajectoryStore
from tests import tiny

ROOT = Folder(__file__).parents[2]
STEPS = 5
COSTS = ("sampled", "reused", "shared", "minimum", "naive")


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str


Shell = Callable[..., Outcome]


@pytest.fixture
def sh(capsys: pytest.CaptureFixture[str]) -> Shell:
    """Run a command in this process."""

    def run(*words: object) -> Outcome:
        capsys.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as stopped:  # argparse's own
            code = int(stopped.code or 0)
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return tiny.save(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def options(folder: Folder) -> list[object]:
    """A run that takes no time."""
    return ["--model", folder, "--prompt", "a red cat", "--seed", 3, "--steps", STEPS]


@pytest.fixture
def grid(sh: Shell, options: list[object], tmp_path: Folder) -> Callable[..., dict[str, Any]]:
    """Make a grid with one branch at steps 0 and 2, or as the words say; its report."""

    def run(*words: object) -> dict[str, Any]:
        report = tmp_path / "report.json"
        shown = ["--rows", "0,2", "--columns", 1, "--out", tmp_path / "grid.png", "--json", report]
        outcome = sh("grid", *options, *shown, *words)
        assert outcome.code == 0, outcome.err
        loaded: dict[str, Any] = json.loads(report.read_text())
        return loaded

    return run


def in_a_new_process(*words: object) -> Outcome:
    command = [sys.executable, "-m", "diffgrid", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return Outcome(done.returncode, done.stdout, done.stderr)


# What it makes.


def test_a_page_is_written_that_opens_its_view(
    sh: Shell, folder: Folder, tmp_path: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFGRID_MODELS", str(folder.parent))
    page = tmp_path / "page.html"
    shape = ["--rows", "0,2", "--columns", 1, "--path", "0.0"]
    done = sh(
        "page",
        "--model",
        folder.name,
        "--prompt",
        "a </cat>",
        "--steps",
        STEPS,
        *shape,
        "--out",
        page,
    )
    assert (done.code, done.out) == (0, "")
    said = r".*page\.html: \d\.\d MB, 3 trajectories on view, \d+ evaluations sampled, .*\n"
    assert re.fullmatch(said, done.err)
    found = opened_file(page)
    assert (found.view.prompt, found.view.path) == ("a </cat>", parse_path("0.0"))
    assert [step for step, _ in found.view.rows] == [0, 2]


@pytest.mark.slow
def test_new_processes_share_what_was_made_and_add_only_what_is_new(
    sh: Shell, tmp_path: Folder
) -> None:
    def run(*words: str, at: Shell = in_a_new_process) -> tuple[dict[str, int], bytes]:
        """Costs and picture of a grid of the bundled model: 4 steps, and the words."""
        picture, report = tmp_path / "grid.png", tmp_path / "report.json"
        prompt = ["--prompt", "a spotted green monster", "--seed", "7", "--steps", "4"]
        done = at("grid", *prompt, *words, "--out", picture, "--json", report)
        assert (done.code, done.out) == (0, ""), done.err
        assert len(done.err.splitlines()) == 1  # no library's chatter
        costs = json.loads(report.read_text())["evaluations"]
        assert tuple(costs) == COSTS
        assert costs["sampled"] + costs["reused"] == costs["minimum"]
        return costs, picture.read_bytes()

    cold, picture = run("--rows", "0", "--columns", "1")
    assert cold["sampled"] == cold["minimum"] == 4 + 3
    again, same_picture = run("--rows", "0", "--columns", "1")
    assert again["sampled"] == 0
    assert same_picture == picture
    # One more column in row 0, which is the trunk now, and the row that leaves it.
    more, _ = run("--rows", "0,1", "--columns", "2", "--path", "0.1", at=sh)
    assert more["sampled"] == 3 + 2 * 2


@pytest.mark.slow
def test_each_new_cell_costs_its_own_steps_alone(grid: Callable[..., dict[str, Any]]) -> None:
    cold = grid()["evaluations"]
    assert cold["sampled"] == cold["minimum"] == STEPS + (STEPS - 1) + (STEPS - 3)
    assert (cold["naive"], cold["shared"]) == (3 * STEPS, 3 * STEPS - cold["minimum"])
    assert grid()["evaluations"]["sampled"] == 0
    assert grid("--columns", 2)["evaluations"]["sampled"] == (STEPS - 1) + (STEPS - 3)
    assert grid("--rows", "0,2,3")["evaluations"]["sampled"] == STEPS - 4
    rerooted = grid("--columns", 2, "--rows", "0,1,2", "--path", "1.1")
    # Row 0 is the trunk's own; row 1 lacks (1, 0), whose slot 1 shows the trunk; row 2 is new.
    assert rerooted["evaluations"]["sampled"] == 2 * (STEPS - 2) + 2 * (STEPS - 3)


@pytest.mark.slow
def test_a_grid_rooted_on_a_cell_evaluates_only_the_rows_below(
    grid: Callable[..., dict[str, Any]],
) -> None:
    first = grid("--columns", 2)
    rerooted = grid("--columns", 2, "--path", "0.1")
    assert [cell["path"] for cell in rerooted["cells"]] == ["0.0", "trunk", "0.1/2.0", "0.1/2.1"]
    assert rerooted["evaluations"]["sampled"] == 2 * (STEPS - 3)
    assert rerooted["key"] == first["cells"][1]["key"]
    assert rerooted["cells"][1]["key"] == first["key"]


def test_a_grid_writes_a_picture_and_a_report_and_says_one_line(
    sh: Shell, options: list[object], tmp_path: Folder
) -> None:
    picture, report = tmp_path / "grid.png", tmp_path / "report.json"
    done = sh("grid", *options, "--out", picture, "--json", report)
    assert (done.code, done.out) == (0, "")
    assert re.fullmatch(r".*grid\.png: \d+ trajectories, \d+ evaluations sampled, .*\n", done.err)
    assert Image.open(picture).format == "PNG"
    written = json.loads(report.read_text())
    assert list(written) == ["key", "evaluations", "seconds", "unheeded", "cells"]
    assert written["unheeded"] == []
    assert {cell["step"] for cell in written["cells"]} == {0, 1, 2}  # round(5 · .04 … .4)
    assert len(written["cells"]) == 3 * 4


def test_what_changes_nothing_is_one_line_each_and_in_the_report(
    sh: Shell, options: list[object], tmp_path: Folder
) -> None:
    picture, report = tmp_path / "grid.png", tmp_path / "report.json"
    words = ["--prompt", "a (red:1.4) cat", "--guidance", 0.5, "--rows", 0, "--columns", 1]
    done = sh("grid", *options, *words, "--out", picture, "--json", report)
    said = json.loads(report.read_text())["unheeded"]
    parts = ["first 1 of 3 words", "(red:1.4) is read", "Guidance 0.5"]
    assert [part in sentence for part, sentence in zip(parts, said, strict=True)] == 3 * [True]
    assert done.err.splitlines()[1:] == said


def test_re_noised_cells_go_back_together(grid: Callable[..., dict[str, Any]]) -> None:
    report = grid("--fork", "renoise:2", "--rows", 3)
    assert [cell["path"] for cell in report["cells"]] == ["3.0-2"]
    assert report["evaluations"]["sampled"] == STEPS + (STEPS - 3 + 2)


@pytest.mark.slow
def test_a_study_writes_curves_and_a_report_and_says_what_it_found(
    sh: Shell, options: list[object], tmp_path: Folder
) -> None:
    table, report = tmp_path / "study.csv", tmp_path / "study.json"
    study = [word for word in options if word not in ("--seed", 3)]
    shape = ["--trunks", 3, "--rows", "0,2", "--columns", 2, "--csv", table, "--json", report]
    first = sh("study", *study, *shape)
    assert first.code == 0, first.err
    assert [line.split(" ")[0].rstrip(":") for line in first.out.splitlines()] == [
        "colour",
        "middle",
    ]
    lines = table.read_text("utf-8").splitlines()
    assert lines[0] == "factor,step,timestep,alpha_bar,phi,low,high,n,chance,ceiling"
    assert len(lines) == 1 + 2 * 2
    minimum = 3 * (STEPS + 2 * (STEPS - 1) + 2 * (STEPS - 3))
    told = json.loads(report.read_text("utf-8"))
    assert told["evaluations"].keys() == set(COSTS)
    assert told["evaluations"]["sampled"] == told["evaluations"]["minimum"] == minimum
    assert {"factors", "order", "order_sentence", "divergence", "study", "run"} <= told.keys()
    again = sh("study", *study, *shape)
    assert "0 evaluations sampled" in again.err
    assert table.read_text("utf-8").splitlines() == lines


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["--trunks", "0"], "trunks 0 is not allowed"),
        (["--columns", "1"], "columns 1 is not allowed in a study"),
        (["--rows", "4"], "row 4 is not allowed"),
    ],
)
def test_a_study_that_cannot_be_is_one_line(
    sh: Shell, options: list[object], tmp_path: Folder, given: list[str], why: str
) -> None:
    study = [word for word in options if word not in ("--seed", 3)]
    files = ["--csv", tmp_path / "study.csv", "--json", tmp_path / "study.json"]
    outcome = sh("study", *study, *files, *given)
    assert (outcome.code, outcome.out) == (2, "")
    assert why in outcome.err
    assert not list(tmp_path.glob("study.*"))


def test_a_strip_shows_one_trajectory(sh: Shell, options: list[object], tmp_path: Folder) -> None:
    done = sh("strip", *options, "--path", "0.1/2.0", "--out", tmp_path / "strip.png")
    assert (done.code, done.out) == (0, "")
    recipe = json.loads(Image.open(tmp_path / "strip.png").info["diffgrid"])
    assert recipe["path"] == "0.1/2.0"
    assert recipe["key"][:8] in done.err


def test_what_a_picture_was_made_of_opens_again(
    sh: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Folder
) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, command: became.append(command[1:]))
    file = ROOT / "tests" / "fixtures" / "recipe-of-0.png"
    done = sh("open", "--print", file)
    assert (done.code, done.err, became) == (0, "", [])
    query = dict(parse_qsl(urlsplit(done.out.strip()).query))
    assert from_query(query) == opened_file(file).view
    address = done.out.strip()
    done = sh("open", file, "--port", 8600)
    assert became == [["-m", "diffgrid.app", f"--at={address}", "--server.port=8600"]]
    assert done.out == f"http://localhost:8600{address}\n"
    assert "grid, 'a red monster with «two» eyes" in done.err
    assert "1.0, seed 3, 4 steps, ddim, eta 1, guidance 2.5, monsters" in done.err
    (tmp_path / "plain.png").write_bytes(encode(Image.new("RGB", (1, 1)), format="PNG"))
    for name, sentence in (("plain.png", "carries no recipe"), ("none.png", "cannot be read")):
        done = sh("open", tmp_path / name)
        assert (done.code, done.out) == (2, "")
        assert sentence in done.err


@pytest.mark.slow
def test_previews_are_told_of_in_a_grid_and_decoded_exactly_in_a_strip(
    sh: Shell, tmp_path: Folder
) -> None:
    tiny.heavy().save_pretrained(tmp_path / "heavy")
    options = ["--model", tmp_path / "heavy", "--steps", 2, "--device", "cpu"]
    done = sh("grid", *options, "--rows", 0, "--columns", 1, "--out", tmp_path / "grid.png")
    assert "x̂0 pictures are previews, about" in done.err
    done = sh("strip", *options, "--out", tmp_path / "strip.png")
    assert done.code == 0, done.err
    assert "pictures are previews" not in done.err
    assert "note" not in json.loads(Image.open(tmp_path / "strip.png").info["diffgrid"])


def test_an_empty_prompt_and_options_at_their_limits_are_fine(
    grid: Callable[..., dict[str, Any]], sh: Shell
) -> None:
    grid("--prompt", "", "--seed", 2**63 - 1, "--guidance", 0, "--eta", 1, "--rows", STEPS - 2)
    (run, *_) = json.loads(sh("runs", "--json").out)
    assert run["specification"]["prompt"] == ""
    assert run["specification"]["seed"] == 2**63 - 1


@pytest.mark.parametrize("scheduler", ["lcm", "EulerAncestralDiscreteScheduler"])
def test_schedulers_go_by_short_name_or_class(
    grid: Callable[..., dict[str, Any]], sh: Shell, scheduler: str
) -> None:
    costs = grid("--scheduler", scheduler)["evaluations"]
    assert costs["sampled"] == costs["minimum"]
    (run, *_) = json.loads(sh("runs", "--json").out)
    assert run["specification"]["scheduler"].startswith(("LCM", "EulerAncestral"))


# What it keeps.


def test_runs_are_listed_as_lines_and_as_json(
    grid: Callable[..., dict[str, Any]], sh: Shell
) -> None:
    assert sh("runs").out == ""
    report = grid()
    keys = {report["key"], *(cell["key"] for cell in report["cells"])}
    lines = sh("runs").out.splitlines()
    assert {line.split()[0] for line in lines} == {key[:8] for key in keys}
    assert all("'a red cat'" in line and "seed 3" in line for line in lines)
    listed = json.loads(sh("runs", "list", "--json").out)
    assert {run["key"] for run in listed} == keys
    assert {run["path"] for run in listed} == {"trunk", "0.0", "2.0"}
    assert all(run["saved"] is None and run["size"] > 0 for run in listed)


def test_a_run_is_shown_saved_and_removed_by_the_beginning_of_its_key(
    grid: Callable[..., dict[str, Any]], sh: Shell
) -> None:
    key = grid()["key"]
    shown = json.loads(sh("runs", "show", key[:8]).out)
    assert (shown["key"], shown["path"]) == (key, "trunk")
    assert shown["specification"]["num_inference_steps"] == STEPS
    assert sh("runs", "save", key[:8], "--name", "the first").code == 0
    assert json.loads(sh("runs", "show", key).out)["saved"] == "the first"
    assert "saved as 'the first'" in sh("runs").out
    assert sh("runs", "remove", key[:8]).code == 0
    assert len(json.loads(sh("runs", "--json").out)) == 2
    assert sh("runs", "show", key[:8]).code == 2


def _elsewhere(monkeypatch: pytest.MonkeyPatch, folder: Folder) -> None:
    monkeypatch.setenv("DIFFGRID_CACHE", str(folder / "elsewhere"))


def test_runs_are_exported_and_imported_elsewhere_as_such(
    grid: Callable[..., dict[str, Any]],
    sh: Shell,
    tmp_path: Folder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    report, file = grid(), tmp_path / "runs.diffgrid"
    keys = [cell["key"] for cell in report["cells"]]
    sh("runs", "save", report["key"], "--name", "mine")
    done = sh("export", "--saved", keys[0][:8], keys[1], file)
    assert (done.code, done.out) == (0, "")
    assert re.fullmatch(r".*runs\.diffgrid: 3 runs, 0\.\d MB\n", done.err)
    _elsewhere(monkeypatch, tmp_path)
    done = sh("import", file)
    assert done.code == 0
    assert done.out.split() == [key[:8] for key in (*keys, report["key"])]
    assert "written by diffgrid" in done.err
    lines = sh("runs").out.splitlines()
    assert all("  imported (diffgrid " in line for line in lines)
    assert sum(line.endswith("  as 'mine'") for line in lines) == 1
    shown = json.loads(sh("runs", "show", report["key"]).out)
    assert (shown["computed"], shown["saved"], shown["imported"]["name"]) == (False, None, "mine")
    assert sh("verify").code == 0
    _is_refused(sh("runs", "save", keys[0]), ["was imported", "compute it here"])
    _is_refused(sh("export", keys[0], tmp_path / "on.diffgrid"), ["imported: pass on the file"])
    assert "0 are new here" in sh("import", file).err

    # What is computed here is what is shown, and what was imported is told of beside it.
    assert grid()["evaluations"]["sampled"] == report["evaluations"]["minimum"]
    lines = sh("runs").out.splitlines()
    assert sum("  imported too (diffgrid " in line for line in lines) == len(lines) == 3
    assert json.loads(sh("runs", "show", keys[0]).out)["computed"]
    assert sh("cache", "--clear").code == 0
    assert len(sh("runs").out.splitlines()) == 3
    assert sh("runs", "remove", keys[0]).code == 0
    assert len(sh("runs").out.splitlines()) == 2


def test_what_is_exported_must_be_there_and_what_is_imported_a_file_of_runs(
    grid: Callable[..., dict[str, Any]], sh: Shell, tmp_path: Folder
) -> None:
    key, file = grid()["key"], tmp_path / "runs.diffgrid"
    _is_refused(sh("export", file), ["needs a KEY"])
    _is_refused(sh("export", "--saved", file), ["no run is saved"])
    _is_refused(sh("export", "feedface", file), ["no stored run has the key"])
    _is_refused(sh("export", key, tmp_path), ["file ", "cannot be written"])
    assert not file.exists()
    _is_refused(sh("import", file), ["there is no such file"])
    _is_refused(sh("import", tmp_path / "grid.png"), ["cannot be read as a file of runs"])
    assert len(sh("runs").out.splitlines()) == 3


@pytest.mark.slow
def test_verify_says_how_far_an_imported_run_is_from_one_made_here(
    grid: Callable[..., dict[str, Any]],
    sh: Shell,
    folder: Folder,
    tmp_path: Folder,
    cache_directory: Folder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DIFFGRID_MODELS", str(folder.parent))
    key, file = grid()["key"], tmp_path / "runs.diffgrid"
    store = TrajectoryStore(cache_directory)
    trunk: Any = store.get(key)
    sh("export", key, file)
    _elsewhere(monkeypatch, tmp_path)
    sh("import", file)
    agreed = sh("verify", "--recompute")
    assert agreed.code == 0
    assert re.fullmatch(
        f"{key[:8]} trunk, imported: comes out the same here, to [0-9.e-]+\n", agreed.out
    )
    sh("runs", "remove", key)
    elsewhere = TrajectoryStore(tmp_path / "elsewhere")
    (run,) = runs_file.read(file)
    forged = replace(run, trajectory=replace(trunk, latents=trunk.latents + np.float32(0.01)))
    elsewhere.add_imported([forged], "0.2.0")
    found = sh("verify", "--recompute")
    assert found.code == 1
    assert found.out == f"{key[:8]} trunk, imported: differs by 0.01\n"


@pytest.mark.slow
def test_clearing_the_cache_leaves_what_was_saved(
    grid: Callable[..., dict[str, Any]], sh: Shell, cache_directory: Folder
) -> None:
    key = grid()["key"]
    sh("runs", "save", key)
    assert f"{cache_directory}: " in sh("cache").out
    assert sh("cache").out.endswith(" MB of 12885 MB, 3 runs\n")  # of runs, saved and imported ones
    assert sh("cache", "--clear").out.endswith("1 runs\n")
    assert json.loads(sh("runs", "show", key).out)["saved"] == key[:8]
    assert grid()["evaluations"]["sampled"] == (STEPS - 1) + (STEPS - 3)


@pytest.fixture
def no_hub(tmp_path: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub's cache with nothing in it."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


def test_models_are_listed_with_all_that_decides_whether_one_can_use_them(
    sh: Shell, folder: Folder, no_hub: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFGRID_MODELS", str(folder.parent))
    done = sh("models")
    assert done.code == 0
    box, own, *hub = done.out.splitlines()
    needs = r"needs +\d+ MB of memory, +\d+ MB in float16"
    assert re.match(
        rf"monsters +StableDiffusionPipeline +128 px +\d+ MB +{needs} +MIT +in the box$", box
    )
    assert re.match(r"model +StableDiffusionPipeline +32 px .* in DIFFGRID_MODELS$", own)
    assert hub
    assert all(line.endswith("to be fetched") for line in hub)
    assert "models --fetch NAME" in done.err


def test_models_are_listed_as_json(sh: Shell, no_hub: None) -> None:
    listed = json.loads(sh("models", "--json").out)
    assert listed[0]["name"] == "monsters"
    assert listed[0]["memory"]["float32"] == 2 * listed[0]["memory"]["float16"]


def test_a_broken_model_is_listed_with_what_is_wrong(
    sh: Shell, tmp_path: Folder, no_hub: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "own" / "broken"
    broken.mkdir(parents=True)
    (broken / "model_index.json").write_text('{"_class_name": "MyPipeline"}')
    monkeypatch.setenv("DIFFGRID_MODELS", str(tmp_path / "own"))
    assert "broken" in sh("models").out
    assert "'MyPipeline', which is not supported" in sh("models").out
    monkeypatch.setenv("DIFFGRID_MODELS", str(tmp_path / "nowhere"))
    assert "nowhere', which is no folder" in sh("models").err


def test_a_model_that_is_on_no_list_is_not_fetched(
    sh: Shell, no_hub: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _is_refused(sh("models", "--fetch", "me/mine"), ["'me/mine' cannot be fetched", "sd-turbo"])
    monkeypatch.setenv("DIFFGRID_PUBLIC", "1")
    done = sh("models", "--fetch", "stabilityai/sd-turbo")
    _is_refused(done, ["none, on a public server"])


def test_a_model_that_is_not_here_says_how_to_fetch_it(
    sh: Shell, tmp_path: Folder, no_hub: None
) -> None:
    done = sh("grid", "--model", "stabilityai/sd-turbo", "--out", tmp_path / "grid.png")
    _is_refused(done, ["not on this machine", "models --fetch stabilityai/sd-turbo"])


def test_a_fetched_model_is_checked_and_named(
    sh: Shell, no_hub: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(wanted: HubModel, *, show: bool) -> None:
        tiny.stable_diffusion().save_pretrained(wanted.folder, variant=wanted.variant)

    monkeypatch.setattr("diffgrid.models.hub.fetch", fetch)
    done = sh("models", "--fetch", "stabilityai/sd-turbo")
    assert done.code == 0
    assert "2.6 GB, Stability AI Community licence" in done.err
    assert done.err.endswith("stabilityai/sd-turbo: ready\n")
    assert sh("models", "--fetch", "stabilityai/sd-turbo").err.endswith("already on this machine\n")
    assert re.search(r"^stabilityai/sd-turbo .* on this machine$", sh("models").out, re.M)


@pytest.mark.parametrize(
    ("words", "dtype"),
    [
        ([], None),
        (["--device", "cuda"], None),
        (["--device", "cpu"], "float32"),
        (["--device", "cpu", "--dtype", "bfloat16"], "bfloat16"),
    ],
)
def test_another_device_than_a_gpu_means_full_precision(
    words: list[str], dtype: str | None
) -> None:
    options = build_parser().parse_args(["grid", *words, "--out", "grid.png"])
    assert commands._given(options)["dtype"] == dtype


# Whether it is whole.


def _damage(directory: Folder, key: str, cache: str = "runs") -> None:
    """Flip one bit of a stored trajectory, on the disk."""
    with sqlite3.connect(directory / cache / "cache.db") as database:
        ((value,),) = database.execute("SELECT value FROM Cache WHERE key = ?", [key]).fetchall()
        damaged = bytearray(value)
        damaged[len(damaged) // 2] ^= 1
        database.execute("UPDATE Cache SET value = ? WHERE key = ?", [bytes(damaged), key])


@pytest.mark.slow
def test_verify_finds_damage_once_and_it_is_made_again(
    grid: Callable[..., dict[str, Any]], sh: Shell, cache_directory: Folder
) -> None:
    key = grid()["cells"][0]["key"]
    whole = sh("verify")
    assert (whole.code, whole.out) == (0, "")
    assert "3 runs are whole" in whole.err
    _damage(cache_directory, key)
    found = sh("verify")
    assert found.code == 1
    assert key in found.out
    assert found.out.endswith("; removed\n")
    assert sh("verify").code == 0
    assert grid()["evaluations"]["sampled"] == STEPS - 1


@pytest.mark.slow
def test_verify_leaves_what_is_saved_and_says_so_each_time(
    grid: Callable[..., dict[str, Any]], sh: Shell, cache_directory: Folder
) -> None:
    key = grid()["key"]
    sh("runs", "save", key, "--name", "mine")
    sh("cache", "--clear")
    _damage(cache_directory, key, "saved")
    for _ in range(2):
        found = sh("verify")
        assert found.code == 1
        assert found.out.startswith(f"saved {key}: ")
        assert found.out.endswith("; left there, as it is saved\n")
    grid()
    assert sh("verify").code == 0


def test_showing_a_damaged_run_says_that_it_was_damaged(
    grid: Callable[..., dict[str, Any]], sh: Shell, cache_directory: Folder
) -> None:
    key = grid()["key"]
    TrajectoryStore(cache_directory)._runs.delete(f"{key}/meta")
    _damage(cache_directory, key)
    shown = sh("runs", "show", key)
    assert (shown.code, shown.out) == (2, "")
    assert "was damaged" in shown.err


def test_a_run_of_another_version_is_listed_and_removed_by_hand(
    grid: Callable[..., dict[str, Any]], sh: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = grid()["key"]
    sh("runs", "save", key, "--name", "mine")
    sampler = scheduler_of("DDIMScheduler")
    monkeypatch.setattr("diffgrid.spec.run.scheduler_of", lambda _: replace(sampler, version=7))
    lines = sh("runs").out.splitlines()
    assert lines[0].startswith(f"{key[:8]}  made by another version of diffgrid")
    assert lines[0].endswith("saved as 'mine'")
    assert json.loads(sh("runs", "show", key[:8]).out)["reason"] in lines[0]
    assert json.loads(sh("runs", "--json").out)[0]["key"] == key
    assert sh("runs", "remove", key[:8]).code == 0
    assert key[:8] not in sh("runs").out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "value", "array", "change", "differs"),
    [
        ("--scheduler", "ddpm", "latents", lambda x: x + np.float32(0.01), "0.01"),
        # Narrow numbers are compared step by step: a whole run comes out otherwise with each batch.
        ("--dtype", "bfloat16", "model_outputs", lambda x: -x, "2"),
    ],
)
def test_verify_recomputes_every_run_and_finds_one_that_differs(
    grid: Callable[..., dict[str, Any]], sh: Shell, cache_directory: Folder,
    option: str, value: str, array: str, change: Callable[[Any], Any], differs: str,
) -> None:  # fmt: skip
    key = grid(option, value)["key"]
    agreed = sh("verify", "--recompute")
    assert (agreed.code, agreed.out) == (0, "")
    assert "0 runs differ" in agreed.err
    store = TrajectoryStore(cache_directory)
    trunk: Any = store.get(key)
    store.remove(key)
    store.add(replace(trunk, **{array: change(getattr(trunk, array))}))
    differing = sh("verify", "--recompute")
    assert differing.code == 1
    assert differing.out == f"{key[:8]} trunk: differs by {differs}\n"


@pytest.fixture
def photo(tmp_path: Folder) -> Folder:
    """Somebody's picture."""
    numbers = np.random.default_rng(0).integers(0, 256, (40, 61, 3), dtype=np.uint8)
    Image.fromarray(numbers).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_a_photo_is_where_a_grid_begins_whatever_format_it_has(
    grid: Callable[..., dict[str, Any]], sh: Shell, photo: Folder
) -> None:
    begun = ["--strength", "0.8", "--rows", "0,1", "--image"]
    made = grid(*begun, photo)
    assert [cell["step"] for cell in made["cells"]] == [0, 1]
    assert made["evaluations"]["sampled"] == made["evaluations"]["minimum"] == 4 + 3 + 2
    Image.open(photo).save(photo.with_suffix(".webp"), lossless=True)
    again = grid(*begun, photo.with_suffix(".webp"))
    assert (again["key"], again["evaluations"]["sampled"]) == (made["key"], 0)
    digest = json.loads(sh("runs", "show", made["key"]).out)["specification"]["image"]
    more = grid("--strength", "1", "--image", digest)  # as an address has it
    assert more["evaluations"]["sampled"] == more["evaluations"]["minimum"] == 5 + 4 + 2


def test_what_begins_with_a_photo_is_recomputed_with_it_as_long_as_it_is_there(
    grid: Callable[..., dict[str, Any]], sh: Shell, cache_directory: Folder, photo: Folder
) -> None:
    key = grid("--image", photo, "--rows", "0,1")["key"]
    assert "0 runs differ" in sh("verify", "--recompute").err
    digest = json.loads(sh("runs", "show", key).out)["specification"]["image"]
    TrajectoryStore(cache_directory)._runs.delete(f"{digest}/photo")
    done = sh("verify", "--recompute")
    assert done.code == 0
    assert done.out.count(f"not compared; image {digest[:8]}…") == 3


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_each_step_from_a_photo_is_recomputed(
    grid: Callable[..., dict[str, Any]], sh: Shell, photo: Folder, dtype: str
) -> None:
    grid("--image", photo, "--dtype", dtype, "--scheduler", "heun")
    assert "3 runs are whole, 0 rows were damaged, 0 runs differ" in sh("verify", "--recompute").err


def test_a_run_whose_model_is_gone_cannot_be_compared_and_is_no_damage(
    sh: Shell, folder: Folder, tmp_path: Folder
) -> None:
    moved = tmp_path / "model"
    moved.symlink_to(folder)
    out = ["--out", tmp_path / "grid.png"]
    assert sh("grid", "--model", moved, "--steps", 2, "--rows", 0, "--columns", 1, *out).code == 0
    moved.unlink()
    done = sh("verify", "--recompute")
    assert done.code == 0
    assert done.out.count("not compared; model ") == 2


# Bad input.

A_RUN = ["--steps", STEPS, "--rows", "0", "--columns", 1]

BAD_OPTIONS = [
    (["--model", "dragons"], ["model 'dragons'", "monsters"]),
    (["--model", ""], ["model ''", "monsters"]),
    (["--model", "x" * 5000], ["model 'xxx", "monsters"]),
    (["--model", "a\nb"], [r"model 'a\nb'", "monsters"]),
    (["--scheduler", "ipndm"], ["scheduler 'ipndm'", "ddpm, ddim, euler"]),
    (["--scheduler", ""], ["scheduler ''", "ddpm, ddim, euler"]),
    (["--device", "toaster"], ["device 'toaster'", "cpu, cuda or mps"]),
    (["--dtype", "int8"], ["dtype 'int8'", "float32, bfloat16, float16"]),
    (["--steps", "0"], ["steps 0", "from 1 to 1000"]),
    (["--steps", "1001"], ["steps 1001", "from 1 to 1000"]),
    (["--steps", "-3"], ["steps -3", "from 1 to 1000"]),
    (["--steps", "2.5"], ["--steps", "'2.5'", "whole number"]),
    (["--steps", "51", "--scheduler", "lcm"], ["steps 51", "lcm", "1 to 50"]),
    (["--rows", "4"], ["row 4", "with 5 steps, choose one from 0 to 3"]),
    (["--rows=-1"], ["row -1", "with 5 steps, choose one from 0 to 3"]),
    (["--rows", "0,99"], ["row 99", "with 5 steps, choose one from 0 to 3"]),
    (["--rows", "0", "--steps", "1"], ["row 0", "raise the steps"]),
    (["--rows", "2,2"], ["rows '2,2'", "each step once"]),
    (["--rows", ","], ["--rows", "','", "such as 1,5,10"]),
    (["--rows", ""], ["--rows", "''", "such as 1,5,10"]),
    (["--rows", "1,x"], ["--rows", "'1,x'", "such as 1,5,10"]),
    (["--rows", "1.0"], ["--rows", "'1.0'", "such as 1,5,10"]),
    (["--path", "4.0"], ["path 4.0", "step 4", "with 5 steps, choose one from 0 to 3"]),
    (["--path", "2.0/1.0"], ["path '2.0/1.0'", "rising steps"]),
    (["--path", "left"], ["path 'left'", "such as 8.2/14.0"]),
    (["--path", "1.-1"], ["path '1.-1'", "such as 8.2/14.0"]),
    (["--path", "1." + "9" * 9000], ["path '1.999", "such as 8.2/14.0"]),
    (["--columns", "0"], ["columns 0", "from 1 to 64"]),
    (["--columns", "65"], ["columns 65", "from 1 to 64"]),
    (["--columns", "-1"], ["columns -1", "from 1 to 64"]),
    (["--columns", "4.0"], ["--columns", "'4.0'", "whole number"]),
    (["--seed", "-1"], ["seed -1", f"from 0 to {2**63 - 1}"]),
    (["--seed", str(2**63)], [f"seed {2**63}", f"from 0 to {2**63 - 1}"]),
    (["--seed", "1" * 5000], ["--seed", "'111", "whole number"]),
    (["--seed", "7.0"], ["--seed", "'7.0'", "whole number"]),
    (["--seed", "1e3"], ["--seed", "'1e3'", "whole number"]),
    (["--seed", "x"], ["--seed", "'x'", "whole number"]),
    (["--seed", "١"], ["--seed", "whole number"]),
    (["--prompt", "x" * 2001], ["prompt has 2,001 characters", "at most 2,000"]),
    (["--negative-prompt", "x" * 2001], ["negative prompt has 2,001", "at most 2,000"]),
    (["--prompt", "a \udc80 cat"], ["prompt", r"\udc80", "UTF-8"]),
    (["--guidance", "nan"], ["guidance nan", "0 or more"]),
    (["--guidance", "inf"], ["guidance inf", "0 or more"]),
    (["--guidance", "1e999"], ["guidance inf", "0 or more"]),
    (["--guidance", "-1"], ["guidance -1.0", "0 or more"]),
    (["--guidance", "much"], ["--guidance", "'much'", "number"]),
    (["--eta", "1.5"], ["eta 1.5", "from 0 to 1"]),
    (["--eta", "-0.1"], ["eta -0.1", "from 0 to 1"]),
    (["--eta", "nan"], ["eta nan", "from 0 to 1"]),
    (["--eta", "1", "--scheduler", "euler"], ["eta 1.0", "euler", "ddim"]),
    (["--height", "0"], ["height 0", "from 8 to 4096"]),
    (["--width", "100"], ["width 100", "multiple of 8"]),
    (["--width", "wide"], ["--width", "'wide'", "whole number"]),
    (["--image", "gone.png"], ["image 'gone.png' is not there", "the path of a picture"]),
    (["--image", "/"], ["image '/' is a folder", "the path of a picture"]),
    (["--image", "/dev/zero"], ["image '/dev/zero' is no plain file", "the path of a picture"]),
    (["--image", __file__], ["is no picture", "PNG, JPEG or WebP"]),
    (["--strength", "0.5"], ["strength 0.5", "give an image too"]),
    (["--strength", "1.5"], ["strength 1.5", "from 0 to 1"]),
    (["--strength", "nan"], ["strength nan", "from 0 to 1"]),
    (["--strength", "half"], ["--strength", "'half'", "number"]),
]


def _name(case: object) -> str | None:
    return " ".join(case)[:30] if isinstance(case, list) and case[0].startswith("--") else ""


def _is_refused(outcome: Outcome, words: list[str]) -> None:
    """Exit 2 with one line on stderr that holds these words, and nothing on stdout."""
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("diffgrid: ")
    assert outcome.err.endswith("\n")
    assert len(outcome.err.splitlines()) == 1
    for word in words:
        assert word in outcome.err


@pytest.mark.parametrize(("given", "words"), BAD_OPTIONS, ids=_name)
def test_bad_options_are_one_line_and_leave_nothing_behind(
    sh: Shell, tmp_path: Folder, cache_directory: Folder, given: list[str], words: list[str]
) -> None:
    files = ["--out", tmp_path / "grid.png", "--json", tmp_path / "report.json"]
    _is_refused(sh("grid", *A_RUN, *files, *given), words)
    assert list(tmp_path.iterdir()) == []
    if cache_directory.exists():
        assert not list(TrajectoryStore(cache_directory)._runs)


@pytest.mark.parametrize("given", [["--seed", "-1"], ["--path", "24.0"], ["--out", "/"]])
def test_strip_refuses_the_same(sh: Shell, tmp_path: Folder, given: list[str]) -> None:
    _is_refused(sh("strip", "--out", tmp_path / "strip.png", *given), [given[0].strip("-")])
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_here_is_refused(
    sh: Shell, options: list[object], tmp_path: Folder
) -> None:
    import torch

    missing = "cuda" if not torch.cuda.is_available() else "mps"
    done = sh("grid", *options, "--device", missing, "--out", tmp_path / "grid.png")
    _is_refused(done, [f"device '{missing}' is not available here", "cpu"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--out", "--json"])
@pytest.mark.parametrize(
    "place", ["", "missing/file", "taken/file", "x" * 300], ids=["folder", "no", "below", "long"]
)
def test_an_output_that_cannot_be_written_is_refused_before_sampling(
    sh: Shell,
    options: list[object],
    tmp_path: Folder,
    option: str,
    place: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(api, "grid", lambda **_: pytest.fail("nothing should be sampled"))
    (tmp_path / "taken").write_bytes(b"")
    files = ["--out", tmp_path / "grid.png", "--json", tmp_path / "report.json"]
    done = sh("grid", *options, *files, option, tmp_path / place)
    _is_refused(done, [f"{option[2:]} '{tmp_path}", "cannot be written", "choose"])
    assert [file.name for file in tmp_path.iterdir()] == ["taken"]


@pytest.mark.skipif(not Folder("/dev/full").exists(), reason="needs /dev/full, a full disk")
@pytest.mark.parametrize("option", ["--out", "--json"])
def test_a_disk_that_fills_up_leaves_no_half_of_the_outputs(
    sh: Shell, options: list[object], tmp_path: Folder, option: str
) -> None:
    files = ["--out", tmp_path / "grid.png", "--json", tmp_path / "report.json"]
    done = sh("grid", *options, "--rows", 0, "--columns", 1, *files, option, "/dev/full")
    _is_refused(done, [f"{option[2:]} '/dev/full'", "No space left on device"])
    assert list(tmp_path.iterdir()) == []


def test_the_report_may_not_take_the_pictures_place(
    sh: Shell, options: list[object], tmp_path: Folder
) -> None:
    same = tmp_path / "grid.png"
    done = sh("grid", *options, "--out", same, "--json", tmp_path / "." / "grid.png")
    _is_refused(done, ["json", "grid.png", "choose another"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["taken", "taken/below", "/proc/diffgrid"])
@pytest.mark.parametrize("command", ["runs", "verify", "cache"])
def test_a_cache_that_cannot_be_written_is_refused(
    sh: Shell, tmp_path: Folder, monkeypatch: pytest.MonkeyPatch, command: str, place: str
) -> None:
    (tmp_path / "taken").write_bytes(b"")
    monkeypatch.setenv("DIFFGRID_CACHE", str(tmp_path / place))
    _is_refused(sh(command), ["cache directory", str(tmp_path / place), "DIFFGRID_CACHE"])
    assert [file.name for file in tmp_path.iterdir()] == ["taken"]


@pytest.mark.slow
def test_without_a_cache_a_grid_is_sampled_with_one_warning(
    grid: Callable[..., dict[str, Any]],
    sh: Shell,
    tmp_path: Folder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DIFFGRID_CACHE", "/proc/diffgrid")
    made = sh("grid", *A_RUN, "--out", tmp_path / "grid.png")
    assert made.code == 0
    assert made.err.count("/proc/diffgrid failed (") == 1
    assert (tmp_path / "grid.png").exists()


def test_a_cache_that_was_broken_is_said_once_and_works(sh: Shell, cache_directory: Folder) -> None:
    TrajectoryStore(cache_directory).close()
    (cache_directory / "runs" / "cache.db").write_bytes(b"no database")
    assert "is set aside as runs-aside-" in sh("runs").err
    assert "aside" not in sh("cache", "--clear").err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], ["COMMAND"]),
        (["dance"], ["'dance'"]),
        (["grid"], ["--out"]),
        (["grid", "--out"], ["--out", "expected one argument"]),
        (["grid", "--out", "x.png", "--colour\nred"], ["--colour"]),
        (["runs", "burn"], ["'burn'", "remove"]),
        (["runs", "show"], ["KEY"]),
        (["runs", "show", "0123abcd"], ["'0123abcd'", "no stored run"]),
        (["runs", "save", "0123abcd"], ["'0123abcd'", "no stored run"]),
        (["verify", "--hard"], ["--hard"]),
    ],
)
def test_words_that_are_no_command_are_one_line(
    sh: Shell, words: list[str], said: list[str]
) -> None:
    _is_refused(sh(*words), said)


def test_a_run_is_not_saved_under_an_empty_name(
    grid: Callable[..., dict[str, Any]], sh: Shell
) -> None:
    _is_refused(sh("runs", "save", grid()["key"], "--name", ""), ["name ''", "1 to 200"])
    assert "saved as" not in sh("runs").out


@pytest.mark.slow
def test_bad_input_in_a_process_of_its_own_is_one_line_and_loads_no_torch(
    tmp_path: Folder,
) -> None:
    words = ["grid", "--seed", "-1", "--out", str(tmp_path / "grid.png")]
    script = f"import sys; from diffgrid.cli.main import main; code = main({words}); "
    script += "sys.exit(99 if 'torch' in sys.modules else code)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    _is_refused(Outcome(done.returncode, done.stdout, done.stderr), ["seed -1"])


def test_a_failure_inside_the_engine_is_one_line_without_a_traceback(
    sh: Shell, options: list[object], tmp_path: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffgrid.sampling import pipelines

    def fail(*_: object) -> None:
        raise MemoryError("out of memory\nwhile loading")

    monkeypatch.setattr(pipelines, "load", fail)
    done = sh("grid", *options, "--out", tmp_path / "grid.png")
    _is_refused(done, ["model", "cannot be loaded: out of memory"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_cache_that_fails_while_sampling_warns_once_and_the_picture_is_made(
    sh: Shell, options: list[object], tmp_path: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(DiskShelf, "set", fail)
    done = sh("grid", *options, "--out", tmp_path / "grid.png")
    assert done.code == 0
    assert done.err.count("No space left on device") == 1
    assert Image.open(tmp_path / "grid.png").format == "PNG"


def test_ctrl_c_stops_without_a_traceback(
    sh: Shell, tmp_path: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "grid", interrupted)
    done = sh("grid", "--out", tmp_path / "grid.png")
    assert done.code == 130
    assert done.err == "diffgrid: stopped; what was computed is kept\n"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "diffgrid", "models"],
        cwd=ROOT,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    assert done.returncode == 0
    assert "Error" not in done.stderr


def test_the_app_without_streamlit_says_what_brings_it(
    sh: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "streamlit", None)
    done = sh("app")
    assert done.code == 2
    assert "pip install 'diffgrid[app]'" in done.err
