"""What each command does; every one returns its exit code."""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from diffgrid import api
from diffgrid.cli.progress import Progress
from diffgrid.engine.choose import choose_engine
from diffgrid.engine.local import LocalEngine
from diffgrid.engine.protocol import Engine
from diffgrid.engine.recheck import Recheck
from diffgrid.errors import BadInput, DiffgridError, StoreError
from diffgrid.limits import Limits
from diffgrid.models import hub
from diffgrid.models.folder import own_models
from diffgrid.models.heeded import unheeded
from diffgrid.models.hub_list import find_hub_model
from diffgrid.models.listing import TO_FETCH, Entry, entries
from diffgrid.models.memory import BYTES, in_words
from diffgrid.models.registry import find_model, models, scheduler_name, to_fetch
from diffgrid.records.trajectories import Trajectory
from diffgrid.sharing import runs_file
from diffgrid.sharing.foreign import opened_file
from diffgrid.spec.options import OPTIONS
from diffgrid.spec.path import format_path
from diffgrid.spec.run import RunSpec
from diffgrid.store.forgiving import TrajectoryStore
from diffgrid.store.runs import RunInfo, Unreadable


def grid(options: argparse.Namespace) -> int:
    _check_writable(out=options.out, json=options.json)
    made = _grid(options, _engine(options))
    report = [("json", options.json, _file(made.report()))] if options.json else []
    api.write(("out", options.out, made.picture()), *report)
    _say(f"{options.out}: {len(made.request.paths)} trajectories, {_cost(made)}")
    _say_approximate(made.trunk)
    _say_unheeded(made.spec)
    return 0


def page(options: argparse.Namespace) -> int:
    _check_writable(out=options.out)
    engine = _engine(options)
    made = _grid(options, engine)
    written = made.to_html(engine=engine).encode()
    api.write(("out", options.out, written))
    size = f"{len(written) / 1e6:.1f} MB"
    _say(f"{options.out}: {size}, {len(made.request.paths)} trajectories on view, {_cost(made)}")
    _say_approximate(made.trunk)
    _say_unheeded(made.spec)
    return 0


def _grid(options: argparse.Namespace, engine: Engine) -> api.Grid:
    with Progress() as progress:
        return api.grid(
            rows=options.rows,
            columns=options.columns,
            fork=options.fork,
            path=options.path,
            engine=engine,
            watch=progress.show,
            **_given(options),
        )


def study(options: argparse.Namespace) -> int:
    _check_writable(json=options.json, csv=options.csv)
    with Progress() as progress:
        made = api.study(
            trunks=options.trunks,
            rows=options.rows,
            columns=options.columns,
            engine=_engine(options),
            watch=progress.show,
            **_given(options),
        )
    table = made.results.to_csv().encode()
    api.write(("csv", options.csv, table), ("json", options.json, _file(made.report())))
    found = made.results.decisions
    for line in filter(None, [*(factor.sentence() for factor in found.factors), found.order()]):
        print(line)
    _say(f"{options.csv}: {made.results.trees} trunks, {_cost(made)}")
    _say_unheeded(made.results.plan.spec)
    return 0


def strip(options: argparse.Namespace) -> int:
    _check_writable(out=options.out)
    with Progress() as progress:
        made = api.trajectory(
            path=options.path,
            exact=True,  # it is taken away
            engine=_engine(options),
            watch=progress.show,
            **_given(options),
        )
    made.save(options.out)
    _say(f"{options.out}: {format_path(made.path)}, {made.steps} steps, key {made.key[:8]}")
    _say_unheeded(made.spec)
    return 0


def _cost(made: api.Grid | api.StudyReport) -> str:
    costs, took = made.evaluations, made.snapshot.seconds
    return f"{costs['sampled']} evaluations sampled, {costs['reused']} reused, {took:.1f} s"


def _engine(options: argparse.Namespace) -> Engine:
    return choose_engine(TrajectoryStore.default(), options.device)


def _store() -> TrajectoryStore:
    store = TrajectoryStore.default()
    store.size()  # which says what is wrong, where it cannot be used
    if store.warning:
        _say(f"diffgrid: {store.warning}")
    return store


def _given(options: argparse.Namespace) -> dict[str, Any]:
    given = {name: getattr(options, name) for name in (o.name for o in OPTIONS) if name in options}
    if options.device and not options.device.startswith("cuda") and given["dtype"] is None:
        given["dtype"] = os.environ.get("DIFFGRID_DTYPE") or "float32"  # whatever GPU there is
    return given


def runs(options: argparse.Namespace) -> int:
    store = _store()
    if options.action == "list":
        listed = store.runs()
        return _list(listed, store.unreadable(listed), options.json)
    if not options.key:
        raise BadInput(f"runs {options.action} needs a KEY: `python -m diffgrid runs` lists them.")
    key = store.find(options.key)
    if options.action == "show":
        listed = store.runs()
        every = [*map(_as_dict, listed), *map(asdict, store.unreadable(listed))]
        shown = [each for each in every if each["key"] == key]
        if not shown:
            raise StoreError(f"run {key[:8]} was damaged: compute it again.")
        print(_json(shown[0]))
    elif options.action == "save":
        store.save(key, key[:8] if options.name is None else options.name)
        _say(f"saved {key[:8]}")
    else:
        store.remove(key, unreadable=key not in {info.key for info in store.runs()})
        _say(f"removed {key[:8]}")
    return 0


def export(options: argparse.Namespace) -> int:
    _check_writable(file=options.file)
    store = _store()
    keys = [store.find(key) for key in options.keys]
    if options.saved:
        keys += [info.key for info in store.runs() if info.saved is not None]
    if not keys:
        none = "no run is saved" if options.saved else "export needs a KEY before the FILE"
        raise BadInput(f"{none}: `python -m diffgrid runs` lists all that is stored.")
    runs = runs_file.Stored(store, keys)
    size = runs_file.write(options.file, runs)
    _say(f"{options.file}: {len(runs)} runs, {size / 1e6:.1f} MB")
    return 0


def import_(options: argparse.Namespace) -> int:
    store = _store()
    found = runs_file.read(options.file, store.imported_limit)
    new = store.add_imported(found, found.version)
    for key in new:
        print(key[:8])
    _say(
        f"{options.file}: {len(found)} runs, written by diffgrid {found.version}; {len(new)} are "
        "new here, as imported ones"
    )
    return 0


def _list(runs: list[RunInfo], unreadable: list[Unreadable], as_json: bool) -> int:
    if as_json:
        print(_json([*map(_as_dict, runs), *map(asdict, unreadable)]))
        return 0
    for info in runs:
        spec = info.spec
        words = [info.key[:8], time.strftime("%Y-%m-%d %H:%M", time.localtime(info.created))]
        words += [f"{format_path(info.path):12}", f"seed {spec.seed}", f"{spec.length} steps"]
        words += [scheduler_name(spec), f"guidance {spec.guidance_scale:g}", repr(spec.prompt)]
        words += [f"saved as {info.saved!r}"] if info.saved else []
        if came := info.imported:
            too = " too" if info.computed else ""
            words += [f"imported{too} ({came.source})"]
            words += [f"as {came.name!r}"] if came.name else []
        print("  ".join(words))
    for left in unreadable:
        words = [left.key[:8], left.reason]
        words += [repr(left.prompt)] if left.prompt else []
        words += [f"saved as {left.name!r}" if left.name else "saved"] if left.saved else []
        print("  ".join(words))
    if unreadable:
        _say("what cannot be read stays until `python -m diffgrid runs remove KEY` removes it")
    elif not runs:
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
        "made": info.made or None,
        "computed": info.computed,
        "imported": info.imported and asdict(info.imported),
        "specification": spec,
    }


def verify(options: argparse.Namespace) -> int:
    store = _store()
    damages = store.verify()
    for damage in damages:
        kept = {"saved": "left there, as it is saved", "imported": "left there, as it was imported"}
        fate = kept.get(damage.cache, "removed")
        print(f"{damage.cache} {damage.row}: {damage.reason}; {fate}")
    runs = store.runs()
    differing = _recompute(store, runs) if options.recompute else 0
    _say(f"{len(runs)} runs are whole, {len(damages)} rows were damaged, {differing} runs differ")
    return 1 if damages or differing else 0


def _recompute(store: TrajectoryStore, runs: list[RunInfo]) -> int:
    """Sample every run in a cache of its own; how many differ by more than rounding.

    What was imported is told of in any case: nobody here has seen it made.
    """
    differing = 0
    with tempfile.TemporaryDirectory() as folder:
        again = TrajectoryStore(Path(folder))
        engine = LocalEngine(again)
        for info in tqdm(runs, disable=not sys.stderr.isatty(), leave=False):
            own = store.get(info.key) if info.computed else None
            came = store.get_imported(info.key) if info.imported else None
            for stored in filter(None, (own, came)):  # or it was evicted meanwhile
                name = f"{info.key[:8]} {format_path(info.path)}"
                name += ", imported" if stored is came else ""
                if photo := stored.spec.photo and store.get_photo(stored.spec.photo):
                    again.add_photo(stored.spec.photo, photo)
                try:
                    differs = _difference(engine, stored)
                except DiffgridError as error:
                    print(f"{name}: not compared; {error}")
                    continue
                if not differs <= TOLERANCE[info.spec.dtype]:
                    differing += 1
                    print(f"{name}: differs by {differs:.2g}")
                elif stored is came:
                    print(f"{name}: comes out the same here, to {differs:.2g}")
    return differing


# Between machines and batches; a wrong weight or noise is off by a tenth and more. In float32 of
# finished latents, else of each step alone, as a share of the largest number: sixteen roundings.
TOLERANCE = {"float32": 1e-4, "float16": 2**-7, "bfloat16": 2**-4}


def _difference(engine: LocalEngine, stored: Trajectory) -> float:
    """How far a run comes out from what is stored of it, as `TOLERANCE` counts."""
    if stored.spec.dtype == "float32":
        job = engine.submit(stored.spec, [stored.path])
        job.wait()
        again, _ = job.result(stored.path)
        return float(abs(again.latents[-1] - stored.latents[-1]).max())
    check = Recheck(stored, engine.store)
    engine.background(check, Limits())
    check.progress.wait(None)
    if error := check.progress.snapshot.error:
        raise error
    return check.differs


def list_models(options: argparse.Namespace) -> int:
    if options.fetch:
        return _fetch(options.fetch)
    found = list(entries())
    if options.json:
        print(_json([asdict(entry) | {"memory": _memory(entry)} for entry in found]))
        return 0
    broad = max(len(entry.name) for entry in found)
    for entry in found:
        print(f"{entry.name:{broad}}  {entry.trouble or _described(entry)}")
    if (own := own_models()) and not own.is_dir():
        _say(f"DIFFGRID_MODELS is {str(own)!r}, which is no folder: nothing is listed from there")
    if any(entry.place == TO_FETCH for entry in found):
        _say("python -m diffgrid models --fetch NAME brings what is to be fetched")
    _say("--model also takes the path of a diffusers folder")
    return 0


def _described(entry: Entry) -> str:
    side = f"{entry.side} px" if entry.side else "any size"
    whole, half = (f"{in_words(entry.memory(dtype)):>7}" for dtype in ("float32", "float16"))
    words = [f"{entry.pipeline:30}", f"{side:>8}", f"{in_words(entry.size):>7}"]
    words += [f"needs {whole} of memory, {half} in float16", f"{entry.licence:23}", entry.place]
    return "  ".join(words)


def _memory(entry: Entry) -> dict[str, int]:
    return {dtype: entry.memory(dtype) for dtype in BYTES}


def _fetch(name: str) -> int:
    wanted = find_hub_model(name)
    if wanted is None or wanted not in to_fetch():
        known = ", ".join(each.id for each in to_fetch()) or "none, on a public server"
        raise BadInput(f"model {name[:60]!r} cannot be fetched; these can: {known}.")
    if name in (model.name for model in models()):
        _say(f"{name}: already on this machine")
        return 0
    page = f"https://huggingface.co/{name}"
    _say(f"{name}: {in_words(wanted.size)}, {wanted.licence} licence ({page})")
    hub.fetch(wanted, show=sys.stderr.isatty())
    _say(f"{name}: checking")
    _ = find_model(name).digest  # noted down, so that the first run need not wait for it
    _say(f"{name}: ready")
    return 0


def open_file(options: argparse.Namespace) -> int:
    found = opened_file(options.file)
    if found.note:
        _say(found.note)
    if options.print:
        print(found.address)
        return 0
    spec = found.view.spec
    words = [found.kind, repr(spec.prompt), *api.recipe(spec, found.path)]
    print(f"http://localhost:{options.port}{found.address}")
    _say(f"{options.file}: {', '.join(words)}")
    _become_the_server(options.port, f"--at={found.address}")


def app(options: argparse.Namespace) -> NoReturn:
    _become_the_server(options.port)


def _become_the_server(port: int, *more: str) -> NoReturn:
    """This process does: it gets the signals that are meant to end it."""
    if find_spec("streamlit") is None:
        raise BadInput("the app needs Streamlit: pip install 'diffgrid[app]' brings it.")
    sys.stdout.flush()
    command = [sys.executable, "-m", "diffgrid.app", *more, f"--server.port={port}"]
    os.execv(sys.executable, command)


def cache(options: argparse.Namespace) -> int:
    store = _store()
    if options.clear:
        store.clear()
    used, allowed = store.size() / 1e6, store.limit / 1e6
    print(f"{store.directory}: {used:.1f} MB of {allowed:.0f} MB, {len(store.runs())} runs")
    return 0


def _check_writable(**outputs: Path | None) -> None:
    """Before anything is sampled: nobody should wait for a picture that cannot be written."""
    files = {option: file for option, file in outputs.items() if file is not None}
    for option, file in files.items():
        if not _is_writable(file):
            raise BadInput(
                f"{option} {str(file)!r} cannot be written: choose a file in a folder you own."
            )
    if len({file.resolve() for file in files.values()}) < len(files):
        raise BadInput(
            f"json {str(files['json'])!r} is to hold something else too: choose another."
        )


def _is_writable(file: Path) -> bool:
    try:
        folder = file.absolute().parent
        return (
            folder.is_dir()
            and not file.is_dir()
            and os.access(file if file.exists() else folder, os.W_OK)
        )
    except OSError:  # the name is too long, say
        return False


def _json(value: object) -> str:
    return json.dumps(value, indent=2)


def _file(value: object) -> bytes:
    return f"{_json(value)}\n".encode()


def _say_approximate(shown: api.Trajectory) -> None:
    if shown.x0_note:
        _say(shown.x0_note)


def _say_unheeded(spec: RunSpec) -> None:
    for sentence in unheeded(spec):
        _say(sentence)


def _say(line: str) -> None:
    print(line, file=sys.stderr)
