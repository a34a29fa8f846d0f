"""A gallery of branching grids in one command.

    python examples/gallery.py --model stable-diffusion-v1-5/stable-diffusion-v1-5 \\
        --prompts prompts.txt --out gallery/

One grid a prompt, with any model that diffgrid knows: a hub id from its list, which is fetched
where it is not on this machine, a name of its catalogue, or a diffusers folder. `--out` then holds

    index.html      all grids on one page
    NAME-KEY.png    a grid, its recipe inside
    runs/           each trajectory with all its steps: `diffgrid.trajectories.from_bytes` reads it
    gallery.json    the command, the model's digest, and of each grid its cells, costs and device

What is finished is not made again, so the same command goes on where it was stopped.

This was never run on real weights of Stable Diffusion by those who wrote it, who had none: its
tests, and every picture they saw from it, are from random weights and from the model in the box.
"""

import argparse
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from io import BytesIO
from pathlib import Path
from string import Template
from typing import Any

from PIL import Image
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))  # it runs from a checkout, nothing installed

from diffgrid import api
from diffgrid.engine.choose import choose_engine
from diffgrid.engine.protocol import Snapshot
from diffgrid.errors import BadInput, DiffgridError
from diffgrid.models.hub import fetch
from diffgrid.models.hub_list import find_hub_model
from diffgrid.models.registry import find_model, specify, to_fetch
from diffgrid.records.trajectories import to_bytes
from diffgrid.spec.grid import Grid, rows_near
from diffgrid.spec.options import OPTIONS
from diffgrid.spec.path import format_path
from diffgrid.spec.run import RunSpec, key
from diffgrid.store.forgiving import TrajectoryStore

PROMPTS = (
    "a lighthouse on a cliff above a stormy sea, oil on canvas",
    "portrait of an old sailor, deep wrinkles, soft window light, photograph",
    "a small red fox asleep under a fern, watercolour",
    "a night market in the rain, neon signs, wet asphalt, photograph",
    "isometric cutaway of a tiny greenhouse, clay render",
    "a bowl of lemons on a blue tablecloth, morning sun, still life",
    "a castle grown from coral, under water, shafts of light",
    "an astronaut watering a roof garden, screen print in three colours",
)
FIRST, LAST = 0.04, 0.64  # of the way: where the rows begin and end; late forks change little

Entry = dict[str, Any]  # of gallery.json: one grid


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the gallery; 0, 2 with one plain line, or 130 when it was interrupted."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        make(_options(given), shlex.join(["python", "examples/gallery.py", *given]))
        return 0
    except DiffgridError as error:
        print(f"gallery: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("gallery: stopped; the same command goes on from here", file=sys.stderr)
        return 130


def make(options: argparse.Namespace, command: str) -> None:
    """Sample what is missing; after each grid the page is whole.

    Raises:
        DiffgridError: an option is not allowed, a file cannot be written, or sampling failed.
    """
    prompts = PROMPTS if options.prompts is None else read_prompts(options.prompts)
    if options.model:
        _bring(options.model)
    runs = [_run(options, prompt) for prompt in prompts]
    requests = [_request(options, specify(**run)) for run in runs]  # all, before one is sampled
    _make_folder(options.out / "runs" if options.runs else options.out)
    engine = choose_engine(TrajectoryStore.default(), options.device)
    finished = _finished(options.out)
    entries: list[Entry] = []
    for run, request in zip(runs, requests, strict=True):
        entry = finished.get(_name(request))
        if entry is None or not _is_whole(entry, request, options):
            with _progress(f"{len(entries) + 1}/{len(runs)}") as watch:
                grid = api.grid(
                    rows=request.rows, columns=options.columns, engine=engine, watch=watch, **run
                )
            entry = _keep(grid, options)
            print(f"{entry['picture']}: {_costs(entry)}", file=sys.stderr)
        entries.append(entry)
        gallery = {
            "command": command,
            "model": request.spec.model,
            "digest": request.spec.digest,
            "grids": entries,
        }
        api.write(
            ("out", options.out / "gallery.json", (json.dumps(gallery, indent=2) + "\n").encode()),
            ("out", options.out / "index.html", page(gallery).encode()),
        )
    print(f"{options.out / 'index.html'}: {len(entries)} grids", file=sys.stderr)


def read_prompts(file: Path) -> tuple[str, ...]:
    """One prompt a line; empty lines, repeated ones and those that begin with # are left out.

    Raises:
        BadInput: the file cannot be read, or holds no prompt.
    """
    try:
        lines = [line.strip() for line in file.read_text("utf-8-sig").splitlines()]
    except (OSError, ValueError) as error:
        raise BadInput(
            f"prompts {str(file)!r} cannot be read ({error}): give a text file in UTF-8."
        ) from error
    prompts = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not prompts:
        raise BadInput(f"prompts {str(file)!r} holds no prompt: write one a line.")
    return prompts


def fork_steps(spec: RunSpec, rows: int) -> tuple[int, ...]:
    """So many steps to fork at, evenly from 4 % to 64 % of the way; fewer where they fall together.

    Raises:
        BadInput: there are to be no rows, or the steps leave no room for one.
    """
    if rows < 1:
        raise BadInput(f"rows {rows} is not allowed: use 1 or more.")
    shares = (FIRST + (LAST - FIRST) * row / max(1, rows - 1) for row in range(rows))
    chosen = rows_near(spec.loop, [round(spec.length * share) for share in shares])
    if not chosen:
        raise BadInput(f"steps {spec.num_inference_steps} leave no room for a fork: use more.")
    return chosen


def page(gallery: dict[str, Any]) -> str:
    """The gallery as HTML: pictures beside it, all else inside."""
    grids = gallery["grids"]
    evaluations = sum(grid["evaluations"]["minimum"] for grid in grids)
    pictures = sum(grid["trajectories"] for grid in grids)
    return PAGE.substitute(
        model=escape(Path(gallery["model"]).name),
        summary=f"{len(grids)} prompts, {pictures} pictures, {evaluations:,} evaluations",
        figures="\n".join(map(_figure, grids)),
        command=escape(gallery["command"]),
        digest=escape(gallery["digest"]),
    )


def _figure(grid: Entry) -> str:
    prompt, picture = escape(grid["prompt"]), escape(grid["picture"])
    return FIGURE.substitute(
        prompt=prompt or "no prompt",
        picture=picture,
        width=int(grid["width"]),
        height=int(grid["height"]),
        costs=escape(_costs(grid)),
    )


def _costs(grid: Entry) -> str:
    costs = grid["evaluations"]
    words = f"{grid['trajectories']} trajectories, {costs['minimum']:,} evaluations"
    if not costs["sampled"]:
        return f"{words}, all known before"
    known = f", {costs['reused']:,} of them known before" if costs["reused"] else ""
    return f"{words}{known}, {grid['seconds']:.0f} s on {grid['device']}"


def _bring(model: str) -> None:
    """Fetch the model, if it is on the hub's list and not on this machine."""
    try:
        find_model(model)
    except BadInput:
        listed = find_hub_model(model)
        if listed is None or listed not in to_fetch():
            raise
        print(f"gallery: fetching {model}, {listed.size / 1e9:.1f} GB", file=sys.stderr)
        fetch(listed, show=sys.stderr.isatty())


def _run(options: argparse.Namespace, prompt: str) -> dict[str, Any]:
    """The options of one grid; what nobody chose is left to the model."""
    chosen = {name: getattr(options, name, None) for name in (option.name for option in OPTIONS)}
    return {name: value for name, value in chosen.items() if value is not None} | {"prompt": prompt}


def _request(options: argparse.Namespace, spec: RunSpec) -> Grid:
    return Grid.with_columns(spec, (), fork_steps(spec, options.rows), options.columns)


def _keep(grid: api.Grid, options: argparse.Namespace) -> Entry:
    """Write a grid's picture and runs; its entry."""
    from diffgrid.sampling.pipelines import find_device  # here: what is finished needs no torch

    picture = grid.picture()
    width, height = Image.open(BytesIO(picture)).size
    entry = {
        "prompt": grid.spec.prompt,
        "picture": f"{_name(grid.request)}.png",
        "width": width,
        "height": height,
        "trajectories": len(grid.request.paths),
        **grid.report(),
        "device": str(find_device(options.device)) if grid.snapshot.sampled else None,
    }
    made = {cell.path: cell for row in grid.cells for cell in row} | {grid.trunk.path: grid.trunk}
    for trajectory in made.values() if options.runs else ():
        api.write(("out", _run_file(options.out, trajectory.key), to_bytes(trajectory)))
    api.write(("out", options.out / entry["picture"], picture))
    return entry


def _name(request: Grid) -> str:
    """What a grid's picture is called: words of the prompt, and the trunk's key."""
    words = re.findall("[a-z0-9]{1,20}", request.spec.prompt.lower())[:6]
    return "-".join([*words, key(request.spec, request.path)[:8]])


def _run_file(folder: Path, name: str) -> Path:
    return folder / "runs" / f"{name}.diffgrid"


def _finished(folder: Path) -> dict[str, Entry]:
    """The grids that an earlier command has left here, by name."""
    try:
        grids = json.loads((folder / "gallery.json").read_text("utf-8"))["grids"]
        return {Path(grid["picture"]).stem: grid for grid in grids}
    except (OSError, ValueError, KeyError, TypeError):  # none, or not ours: all is made anew
        return {}


def _is_whole(entry: Entry, request: Grid, options: argparse.Namespace) -> bool:
    """Whether it shows what is asked for now, and its files are there."""
    keys = [key(request.spec, path) for row in request.cells for path in row]
    shown = [(cell.get("path"), cell.get("key")) for cell in entry.get("cells", ())]
    paths = [format_path(path) for row in request.cells for path in row]
    files = [options.out / f"{_name(request)}.png"]
    if options.runs:
        files += [_run_file(options.out, name) for name in keys]
    return shown == list(zip(paths, keys, strict=True)) and all(map(Path.is_file, files))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"out {str(folder)!r} cannot be made ({error.strerror}): choose another folder."
        ) from error


@contextmanager
def _progress(name: str) -> Iterator[Callable[[Snapshot], None]]:
    """A bar on stderr, where that is a terminal."""
    with tqdm(disable=not sys.stderr.isatty(), unit="evaluation", leave=False) as bar:

        def watch(snapshot: Snapshot) -> None:
            bar.total = snapshot.to_sample
            bar.set_description(f"{name} {snapshot.state}", refresh=False)
            bar.update(snapshot.sampled - bar.n)

        yield watch


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python examples/gallery.py", description="A branching grid for each prompt."
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="FOLDER", help="where the gallery goes")
    add("--model", help="a hub id, a name, or a diffusers folder (default: the model in the box)")
    add("--prompts", type=Path, metavar="FILE", help="one prompt a line (default: eight of ours)")
    add("--rows", type=int, default=4, help="how many steps are forked at (default: 4)")
    add("--columns", type=int, default=4, help="branches a row (default: 4)")
    add("--steps", type=int, help="denoising steps (default: the model's own)")
    add("--seed", type=int, help="of the trunk's noise (default: 7)")
    add("--negative-prompt", help="what to keep away from")
    add("--scheduler", help="a name that `diffgrid` knows (default: the model's own)")
    add("--guidance", type=float, help="classifier-free guidance scale; 1 is none")
    add("--eta", type=float, help="of ddim, 0 to 1")
    add("--height", type=int, help="pixels")
    add("--width", type=int, help="pixels")
    add("--dtype", help="float32, bfloat16 or float16")
    add("--device", help="cpu, cuda or mps (default: the fastest here)")
    add("--no-runs", dest="runs", action="store_false", help="leave the folder runs/ out")
    return parser.parse_args(arguments)


PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Paths not taken: $model</title>
<style>
:root {
  --paper: #fcfbfa; --card: #fff; --ink: #1c1a22; --soft: #6d6977; --line: #e2ded6;
  --accent: #6c4ef2;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #0f0e14; --card: #191722; --ink: #ecebf1; --soft: #a19dad; --line: #2b2838;
    --accent: #9b85ff;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 1180px; padding: 48px 24px;
  background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
}
header { margin-bottom: 32px; padding-left: 18px; border-left: 3px solid var(--accent); }
h1 { margin: 0; font-size: 28px; line-height: 1.2; letter-spacing: -0.01em; }
p { margin: 4px 0 0; color: var(--soft); }
main {
  display: grid; gap: 24px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 480px), 1fr));
  align-items: start;
}
figure {
  margin: 0; overflow: hidden; border: 1px solid var(--line); border-radius: 12px;
  background: var(--card);
}
figure a { display: block; background: #fcfbfa; }
figure a:focus-visible { outline: 3px solid var(--accent); outline-offset: -3px; }
img { display: block; width: 100%; height: auto; }
figcaption { padding: 16px 20px 18px; border-top: 1px solid var(--line); }
h2 { margin: 0; font: italic 19px/1.35 Georgia, "Times New Roman", serif; overflow-wrap: anywhere; }
figcaption p { font-size: 13px; }
footer { margin-top: 40px; font-size: 13px; }
code { font: 12px/1.6 ui-monospace, monospace; overflow-wrap: anywhere; }
</style>
<header>
  <h1>Paths not taken</h1>
  <p>$model · $summary</p>
</header>
<main>
$figures
</main>
<footer>
  <p>Each grid is one picture on its way from noise. A row leaves that way at one step: its cells
  share everything up to there, and roll other dice from then on.</p>
  <p>Made with diffgrid: <code>$command</code></p>
  <p>The model's weights: <code>$digest</code></p>
</footer>
</html>
""")

FIGURE = Template("""<figure>
  <a href="$picture"><img src="$picture" width="$width" height="$height" loading="lazy"
    alt="Branching grid: $prompt"></a>
  <figcaption>
    <h2>$prompt</h2>
    <p>$costs</p>
  </figcaption>
</figure>""")


if __name__ == "__main__":
    sys.exit(main())
