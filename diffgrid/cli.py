"""The command line: python -m diffgrid COMMAND.

Every command exits with 0, with 1 when `verify` finds damage, or with 2 and one plain line when something
it was given is not allowed.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from diffgrid import api
from diffgrid.catalogue import FAMILIES, SCHEDULERS, models, scheduler_name
from diffgrid.engine import LocalEngine, Snapshot
from diffgrid.errors import BadInput, DiffgridError
from diffgrid.spec import format_path
from diffgrid.store import RunInfo, TrajectoryStore


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, without the usage that argparse prints before it."""
        self.exit(2, f"diffgrid: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except DiffgridError as error:
        print(f"diffgrid: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("diffgrid: stopped; what was computed is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="diffgrid", description="The paths a diffusion model did not take.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[Any], int], summary: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=summary, description=summary)
        added.set_defaults(run=run)
        return added

    grid = command("grid", _grid, "branch one trajectory at several steps")
    _run_options(grid)
    grid.add_argument("--rows", type=_steps, metavar="1,5,10", help="steps to fork at")
    grid.add_argument("--columns", type=int, default=4, help="branches a row (default: 4)")
    grid.add_argument("--json", type=Path, metavar="FILE", help="write costs and cells there")

    strip = command("strip", _strip, "show one trajectory, timestep by timestep")
    _run_options(strip)

    runs = command("runs", _runs, "list, show, save or remove what is in the cache")
    runs.add_argument(
        "action", nargs="?", choices=("list", "show", "save", "remove"), default="list"
    )
    runs.add_argument(
        "key", nargs="?", metavar="KEY", help="a run's key; its first 8 digits will do"
    )
    runs.add_argument("--name", help="the name to save it under")
    runs.add_argument("--json", action="store_true", help="print JSON")

    verify = command("verify", _verify, "check all that is stored, and remove what is damaged")
    verify.add_argument(
        "--recompute", action="store_true", help="sample every run again and compare"
    )

    command("models", _models, "list the models that can be used")

    cache = command("cache", _cache, "show how large the cache is, or empty it")
    cache.add_argument("--clear", action="store_true", help="remove all runs that were not saved")
    return parser


def _run_options(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(scheduler.name for scheduler in SCHEDULERS)
    add = parser.add_argument
    add("--prompt", help="what to draw (default: one that shows the model off)")
    add("--negative-prompt", default="", help="what to keep away from")
    add("--seed", type=int, default=7, help="of the trunk's noise (default: 7)")
    add("--model", default="monsters", help="a name from `models`, or a diffusers folder")
    add("--scheduler", help=f"{names}, or a class name (default: the model's own)")
    add("--steps", type=int, help="denoising steps, 1 to 1000")
    add("--guidance", type=float, help="classifier-free guidance scale; 1 is none")
    add("--eta", type=float, help="of ddim: 0 is deterministic, 1 as random as ddpm")
    add("--height", type=int, help="pixels")
    add("--width", type=int, help="pixels")
    add("--dtype", default="float32", help="float32, bfloat16 or float16")
    add("--device", help="cpu, cuda or mps (default: the fastest here)")
    add("--path", default="trunk", metavar="8.2/14.0", help="the trajectory in view")
    add("--out", type=Path, required=True, metavar="FILE", help="the picture to write, a PNG")


def _steps(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not allowed: give steps with commas between them, such as 1,5,10"
        ) from None


def _grid(options: argparse.Namespace) -> int:
    _check_writable(options.out, options.json)
    with _Progress() as progress:
        made = api.grid(
            rows=options.rows,
            columns=options.columns,
            path=options.path,
            engine=_engine(options),
            watch=progress.show,
            **_given(options),
        )
    made.save(options.out)
    if options.json:
        _write_text(options.json, json.dumps(made.report(), indent=2) + "\n")
    costs = made.evaluations
    _say(
        f"{options.out}: {len(made.request.paths)} trajectories, {costs['sampled']} evaluations sampled, "
        f"{costs['reused']} reused, {made.snapshot.seconds:.1f} s"
    )
    return 0


def _strip(options: argparse.Namespace) -> int:
    _check_writable(options.out)
    with _Progress() as progress:
        made = api.trajectory(
            path=options.path, engine=_engine(options), watch=progress.show, **_given(options)
        )
    made.save(options.out)
    _say(f"{options.out}: {format_path(made.path)}, {made.steps} steps, key {made.key[:8]}")
    return 0


def _engine(options: argparse.Namespace) -> LocalEngine:
    return LocalEngine(TrajectoryStore.default(), options.device)


def _given(options: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(options, name) for name in api.OPTIONS}


def _runs(options: argparse.Namespace) -> int:
    store = TrajectoryStore.default()
    if options.action == "list":
        return _list(store.runs(), options.json)
    if not options.key:
        raise BadInput(f"runs {options.action} needs a KEY: `python -m diffgrid runs` lists them.")
    key = store.find(options.key)
    if options.action == "show":
        info = next(info for info in store.runs() if info.key == key)
        print(json.dumps(_as_dict(info), indent=2))
    elif options.action == "save":
        store.save(key, options.name or key[:8])
    else:
        store.remove(key)
    return 0


def _list(runs: list[RunInfo], as_json: bool) -> int:
    if as_json:
        print(json.dumps([_as_dict(info) for info in runs], indent=2))
        return 0
    for info in runs:
        spec = info.spec
        words = [info.key[:8], time.strftime("%Y-%m-%d %H:%M", time.localtime(info.created))]
        words += [f"{format_path(info.path):12}", f"seed {spec.seed}", f"{spec.length} steps"]
        words += [scheduler_name(spec), f"guidance {spec.guidance_scale:g}", repr(spec.prompt)]
        words += [f"saved as {info.saved!r}"] if info.saved else []
        print("  ".join(words))
    if not runs:
        _say("no runs yet: `python -m diffgrid grid --out grid.png` makes some")
    return 0


def _as_dict(info: RunInfo) -> dict[str, Any]:
    spec = info.spec.to_dict()
    spec["scheduler_config"] = json.loads(info.spec.scheduler_config)
    spec["scheduler_config"].pop("trained_betas", None)  # a thousand numbers that nobody reads
    return {
        "key": info.key,
        "path": format_path(info.path),
        "created": info.created,
        "size": info.size,
        "saved": info.saved,
        "specification": spec,
    }


def _verify(options: argparse.Namespace) -> int:
    store = TrajectoryStore.default()
    damages = store.verify()
    for damage in damages:
        print(f"{damage.cache} {damage.row}: {damage.reason}; removed")
    runs = store.runs()
    differing = _recompute(store, runs) if options.recompute else 0
    _say(f"{len(runs)} runs are whole, {len(damages)} rows were damaged, {differing} runs differ")
    return 1 if damages or differing else 0


def _recompute(store: TrajectoryStore, runs: list[RunInfo]) -> int:
    """Sample every run in a cache of its own; how many differ by more than rounding."""
    import tempfile

    differing = 0
    with tempfile.TemporaryDirectory() as folder:
        engine = LocalEngine(TrajectoryStore(Path(folder)))
        for info in tqdm(runs, disable=not sys.stderr.isatty(), leave=False):
            job = engine.submit(info.spec, [info.path])
            job.wait()
            again, _ = job.result(info.path)
            stored = store.get(info.key)
            if stored is None:
                continue
            error = float(abs(again.latents[-1] - stored.latents[-1]).max())
            if not error <= TOLERANCE:
                differing += 1
                print(f"{info.key[:8]} {format_path(info.path)}: differs by {error:.2g}")
    return differing


TOLERANCE = 1e-4  # between machines and batch sizes; a wrong weight or noise is off by 0.1 and more


def _models(options: argparse.Namespace) -> int:
    for model in models():
        licence = model.settings.get("licence", "licence unknown")
        print(f"{model.name:12} {model.side} px  {model.size / 1e6:.0f} MB  {licence}  in the box")
    _say(f"--model also takes the path of a diffusers folder ({', '.join(FAMILIES)})")
    return 0


def _cache(options: argparse.Namespace) -> int:
    store = TrajectoryStore.default()
    if options.clear:
        store.clear()
    used, allowed = store.size() / 1e6, store.limit / 1e6
    print(f"{store.directory}: {used:.1f} MB of {allowed:.0f} MB, {len(store.runs())} runs")
    return 0


class _Progress:
    """A bar on stderr when that is a terminal; warnings always."""

    def __init__(self) -> None:
        self._bar = tqdm(disable=not sys.stderr.isatty(), unit="evaluation", leave=False)
        self._warned: str | None = None

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, snapshot: Snapshot) -> None:
        self._bar.total = snapshot.to_sample
        self._bar.set_description(snapshot.state, refresh=False)
        self._bar.update(snapshot.sampled - self._bar.n)
        if snapshot.warning and snapshot.warning != self._warned:
            self._warned = snapshot.warning
            tqdm.write(f"diffgrid: {snapshot.warning}", file=sys.stderr)


def _check_writable(*files: Path | None) -> None:
    """Before anything is sampled: nobody should wait for a picture that cannot be written."""
    for file in files:
        if file is None:
            continue
        folder = file.absolute().parent
        target = file if file.exists() else folder
        if file.is_dir() or not folder.is_dir() or not os.access(target, os.W_OK):
            raise BadInput(
                f"out {str(file)!r} cannot be written: choose a file in a folder you own."
            )


def _write_text(file: Path, text: str) -> None:
    try:
        file.write_text(text, "utf-8")
    except OSError as error:
        raise BadInput(f"json {str(file)!r} cannot be written ({error.strerror}).") from error


def _say(line: str) -> None:
    print(line, file=sys.stderr)
