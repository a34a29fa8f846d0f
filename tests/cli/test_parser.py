"""What the command line takes, and what it says of itself."""

from __future__ import annotations

import pytest

from diffgrid import __version__
from diffgrid.cli.parser import build_parser
from diffgrid.spec.options import OPTIONS

COMMANDS = ["grid", "strip", "study", "runs", "verify", "models", "app", "open", "cache"]
FILES = {
    "grid": ["--out", "grid.png"],
    "strip": ["--out", "strip.png"],
    "study": ["--json", "study.json", "--csv", "study.csv"],
}


def _said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        build_parser().parse_args(words)
    said = capsys.readouterr()
    assert (stopped.value.code, said.err) == (0, "")
    return said.out


def test_it_says_which_version_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert _said(capsys, "--version") == f"diffgrid {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert f" {command} " in _said(capsys, "--help")
    assert _said(capsys, command, "--help").startswith(f"usage: diffgrid {command}")


def test_the_options_are_the_keyword_names_of_the_python_api(
    capsys: pytest.CaptureFixture[str],
) -> None:
    helped = _said(capsys, "grid", "--help")
    for name in (*(option.name for option in OPTIONS), "rows", "columns", "path", "fork"):
        assert f"--{name.replace('_', '-')} " in helped


@pytest.mark.parametrize("command", FILES)
def test_every_option_of_a_run_has_a_default(command: str) -> None:
    given = vars(build_parser().parse_args([command, *FILES[command]]))
    of_a_run = {option.name: option.default for option in OPTIONS}
    if command == "study":  # its trunks are its seeds
        del of_a_run["seed"]
        assert "seed" not in given
    assert given.items() >= of_a_run.items()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("+3", 3),
        ("3.", 3),
        (".5", 0.5),
        ("1e1", 10),
        ("1E+1", 10),
        ("." + "1" * 40, 1 / 9),
    ],
)
def test_a_number_is_read_as_people_write_it(text: str, value: float) -> None:
    given = build_parser().parse_args(["grid", "--guidance", text, *FILES["grid"]])
    assert given.guidance == value


def test_an_option_of_the_pipeline_may_be_given_several_times() -> None:
    grid = ["grid", "--out", "x.png", "--rows", "1"]
    parsed = build_parser().parse_args([*grid, "--option", "clip_skip=1", "--option", "b=2"])
    assert parsed.option == "clip_skip=1;b=2"
    assert build_parser().parse_args(grid).option == ""
