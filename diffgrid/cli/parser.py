"""What the command line takes: its commands, their options, and what is said of them."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from diffgrid import __version__
from diffgrid.cli import commands
from diffgrid.errors import BadInput
from diffgrid.spec.options import OPTIONS, Option

PICTURE = "the picture to write, a PNG"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, without the usage that argparse prints before it."""
        line = " ".join(message.splitlines())
        self.exit(2, f"diffgrid: {line} (see {self.prog} --help)\n")


def build_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="diffgrid", description="The paths a diffusion model did not take.")
    parser.add_argument("--version", action="version", version=f"diffgrid {__version__}")
    added = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[Any], int], summary: str) -> argparse.ArgumentParser:
        made = added.add_parser(name, help=summary, description=summary)
        made.set_defaults(run=run)
        return made

    grid = command("grid", commands.grid, "branch one trajectory at several steps")
    _grid_options(grid)
    grid.add_argument("--json", type=Path, metavar="FILE", help="write costs and cells there")

    page = command("page", commands.page, "write a grid as one HTML file that plays with no server")
    _grid_options(page, "the page to write, an HTML file")

    study = command("study", commands.study, "measure when what is decided, over many trunks")
    _settings(study)
    _add(study, Option("trunks", int, "seeds 0 to TRUNKS-1 (default: 16)", 16))
    _shape(study)
    study.add_argument(
        "--json", type=Path, required=True, metavar="FILE", help="write it all there"
    )
    study.add_argument("--csv", type=Path, required=True, metavar="FILE", help="write the curves")

    strip = command("strip", commands.strip, "show one trajectory, timestep by timestep")
    _run_options(strip)

    runs = command("runs", commands.runs, "list, show, save or remove what is in the cache")
    runs.add_argument(
        "action", nargs="?", choices=("list", "show", "save", "remove"), default="list"
    )
    runs.add_argument(
        "key", nargs="?", metavar="KEY", help="a run's key; its first 8 digits will do"
    )
    runs.add_argument("--name", help="the name to save it under")
    runs.add_argument("--json", action="store_true", help="print JSON")

    export = command("export", commands.export, "write stored runs to one file, to pass them on")
    export.add_argument(
        "keys", nargs="*", metavar="KEY", help="a run's key; its first 8 digits will do"
    )
    export.add_argument("file", type=Path, metavar="FILE", help="such as runs.diffgrid")
    export.add_argument("--saved", action="store_true", help="all runs that are saved, too")

    imports = command(
        "import", commands.import_, "take in runs that somebody else computed, as imported ones"
    )
    imports.add_argument("file", type=Path, metavar="FILE", help="such as runs.diffgrid")

    verify = command(
        "verify", commands.verify, "check all that is stored, and remove what is damaged"
    )
    verify.add_argument(
        "--recompute", action="store_true", help="sample every run again and compare"
    )

    listed = command(
        "models", commands.list_models, "list the models that can be used, or fetch one"
    )
    listed.add_argument("--fetch", metavar="ID", help="bring a listed model to this machine")
    listed.add_argument("--json", action="store_true", help="print JSON")

    app = command("app", commands.app, "start the app on this machine")
    _add(app, Option("port", int, "where to serve it (default: 8501)", 8501))

    opened = command("open", commands.open_file, "show what a picture or page was made of")
    opened.add_argument(
        "file", type=Path, metavar="FILE", help="a PNG or an HTML page that diffgrid wrote"
    )
    opened.add_argument(
        "--print", action="store_true", help="print its address and start no app for it"
    )
    _add(opened, Option("port", int, "where to serve the app (default: 8501)", 8501))

    cache = command("cache", commands.cache, "show how large the cache is, or empty it")
    cache.add_argument(
        "--clear", action="store_true", help="remove all runs that were neither saved nor imported"
    )
    return parser


def _grid_options(parser: argparse.ArgumentParser, out: str = PICTURE) -> None:
    _run_options(parser, out)
    _shape(parser)
    parser.add_argument(
        "--fork",
        default="fresh",
        metavar="fresh|renoise:M",
        help="fresh noise from the fork on, or M steps back to more noise first (default: fresh)",
    )


def _run_options(parser: argparse.ArgumentParser, out: str = PICTURE) -> None:
    _settings(parser)
    add = parser.add_argument
    _add(parser, next(option for option in OPTIONS if option.name == "seed"))
    add("--path", default="trunk", metavar="8.2/14.0", help="the trajectory in view")
    add("--out", type=Path, required=True, metavar="FILE", help=out)


def _settings(parser: argparse.ArgumentParser) -> None:
    for option in OPTIONS:
        if option.name != "seed":
            _add(parser, option)
    parser.add_argument(
        "--device", help="cpu, cuda or mps (default: DIFFGRID_DEVICE, or the fastest here)"
    )


def _shape(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=_steps, metavar="1,5,10", help="steps to fork at")
    _add(parser, Option("columns", int, "branches a row (default: 4)", 4))


def _add(parser: argparse.ArgumentParser, option: Option) -> None:
    def read(text: str) -> Any:
        try:
            return option.read(text)
        except BadInput as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    action = _Together if option.several else "store"
    parser.add_argument(
        option.flag, type=read, default=option.default, help=option.help, action=action
    )


class _Together(argparse.Action):
    """An option that may be given several times: with semicolons between."""

    def __call__(
        self, parser: Any, namespace: Any, values: Any, option_string: str | None = None
    ) -> None:
        told = getattr(namespace, self.dest)
        setattr(namespace, self.dest, ";".join(filter(None, [told, values])))


def _steps(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\s*[+-]?[0-9]{1,300}\s*(,\s*[+-]?[0-9]{1,300}\s*)*", text):
        raise argparse.ArgumentTypeError(
            f"{text[:60]!r} is not allowed: give steps with commas between them, such as 1,5,10"
        )
    return tuple(map(int, text.split(",")))
