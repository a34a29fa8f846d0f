"""diffgrid in Python: grids and single trajectories, for notebooks and the command line.

    >>> import diffgrid
    >>> g = diffgrid.grid(prompt="a red monster", seed=7, columns=4)      # doctest: +SKIP
    >>> g.trunk.image, g.cell(0, 2).pred_original_sample.shape            # doctest: +SKIP

The engine, and with it the loaded model and the store, is kept between calls.
"""

import html
import os
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache
from itertools import chain
from operator import index
from pathlib import Path as File
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from PIL import Image

from diffgrid.browser.finished import page_of
from diffgrid.browser.page import Page
from diffgrid.decisions.study import (
    GridStudy,
    Plan,
    Study,
    StudySnapshot,
    begin_study,
    study_rows,
)
from diffgrid.engine.choose import choose_engine
from diffgrid.engine.protocol import Engine, Job, Snapshot, WorkSnapshot
from diffgrid.errors import BadInput, Busy
from diffgrid.models.folder import PLAIN_PROBE
from diffgrid.models.heeded import unheeded
from diffgrid.models.registry import find_model, scheduler_name, specify
from diffgrid.pictures import figures, typography
from diffgrid.pictures.animations import chosen_moments, to_gif, to_webp
from diffgrid.pictures.figures import Cell, GridSheet, Moment, Row, StripSheet
from diffgrid.pictures.png import Texts, with_texts
from diffgrid.records import frames, trajectories
from diffgrid.records.frames import Frames
from diffgrid.records.shared_run import SharedRun
from diffgrid.sharing import photo, runs_file
from diffgrid.sharing.recipe import Kind, texts
from diffgrid.sharing.recipe import write as write_recipe
from diffgrid.sharing.view import View
from diffgrid.spec.checks import shown
from diffgrid.spec.grid import Grid as GridRequest
from diffgrid.spec.grid import default_rows, parse_fork_kind
from diffgrid.spec.options import STRENGTH
from diffgrid.spec.path import Path, describe, format_path, naive, parse_path
from diffgrid.spec.run import RunSpec
from diffgrid.store.forgiving import TrajectoryStore

if TYPE_CHECKING:
    import pandas as pd

    from diffgrid.decisions.results import Results

LARGEST_OUTPUT = 1_100_000  # bytes of a page in a notebook, which keeps all that it shows
OUTPUT_HEIGHT, LARGEST_PICTURE = 760, 1200  # px; of the frame, and of the picture below it
Watch = Callable[[Snapshot], None]
_S = TypeVar("_S", bound=WorkSnapshot)


@dataclass(frozen=True, eq=False, repr=False)
class Trajectory(trajectories.Trajectory):
    """A finished trajectory with its pictures.

    `latents` (T+1, C, H, W) float32, `pred_original_sample` (T, C, H, W), `timesteps` (T,), `path`,
    `spec`, and where it was `made`; `image` is the finished picture. `x0_images` are made as
    `x0_way` says.
    """

    frames: Frames = field(kw_only=True)

    @property
    def x0_way(self) -> str:
        """How pictures of x̂0 were decoded: by the full `vae`, or by `tiny` or `linear` previews.

        Where they are `exact`, the full VAE drew them in place of previews (see `trajectory`);
        `hindsight` are an older version's previews.
        """
        return self.frames.decoding.way

    @property
    def x0_note(self) -> str:
        """What is said of them where they are approximate: by how much, as far as is known."""
        return self.frames.decoding.note

    @property
    def image(self) -> Image.Image:
        """The finished picture, as plain diffusers makes it."""
        return frames.decode(self.frames.final)

    def image_at(self, step: int) -> Image.Image:
        """x̂0 before a step; the finished picture at T."""
        return self.image if step == self.steps else frames.decode(self.frames.x0[step])

    @property
    def x0_images(self) -> list[Image.Image]:
        """x̂0 before each step, T pictures; approximate, where there is a `x0_note`."""
        return [frames.decode(picture) for picture in self.frames.x0]

    def strip(self, view: View | None = None) -> bytes:
        """A PNG of the whole way: latents and x̂0 at every timestep, with its recipe inside.

        `view` is the grid that it is seen in.
        """
        sheet = StripSheet(
            prompt=self.spec.prompt,
            recipe=recipe(self.spec, self.path),
            path=self.path,
            latents=self.latents,
            strip=_moments(self),
            final=self.image,
            footer="the model's latents, and its guess of the finished picture, before every step",
            note=self.x0_note,
        )
        return typography.to_png(figures.draw_strip(sheet), self._texts("strip", view))

    def save(self, file: str | File) -> None:
        """Write the strip as a PNG; or, as `x.diffgrid`, the run itself (`open_runs`)."""
        if _holds_runs(file):
            runs_file.write(file, [_shared(self)])
        else:
            write(("out", file, self.strip()))

    def _repr_png_(self) -> bytes:
        return with_texts(self.frames.final, self._texts("cell", None))

    def _texts(self, kind: Kind, view: View | None) -> Texts:
        view = view or View.of_one(self.spec, self.path)
        return texts(view, kind, self.path, spec=self.spec, **_noted(self))

    def __repr__(self) -> str:
        return f"<Trajectory {_words(self)}>"


@dataclass(frozen=True, repr=False)
class Grid:
    """A finished grid."""

    request: GridRequest
    trunk: Trajectory  # the focus
    cells: tuple[tuple[Trajectory, ...], ...]  # row by row
    snapshot: Snapshot  # the job's last: evaluations and seconds

    @property
    def spec(self) -> RunSpec:
        return self.request.spec

    def cell(self, row: int, column: int) -> Trajectory:
        """The trajectory in a cell; row and column are indices."""
        return self.cells[row][column]

    def __repr__(self) -> str:
        steps = ", ".join(map(str, self.request.rows))
        return f"<Grid of {sum(map(len, self.cells))} cells at steps {steps}; {_words(self.trunk)}>"

    @cached_property
    def evaluations(self) -> dict[str, int]:
        """What it cost: `minimum` = sampled + reused, `naive` = minimum + shared."""
        return _costs(self.snapshot, self.snapshot.naive)

    def report(self) -> dict[str, Any]:
        """Costs and cells, ready for JSON."""
        return {
            "key": self.trunk.key,
            "evaluations": self.evaluations,
            "seconds": round(self.snapshot.seconds, 3),
            "unheeded": unheeded(self.spec),
            "cells": [
                {name: cell[name] for name in ("path", "step", "timestep", "key")}
                for cell in self._lines()
            ],
        }

    def to_frame(self) -> "pd.DataFrame":
        """One row a cell: row, column, path, step, timestep, alpha_bar, key."""
        import pandas as pd  # here: it takes longer to import than all the rest, and few ask for it

        return pd.DataFrame(self._lines())

    def _lines(self) -> Iterator[dict[str, Any]]:
        for row, (step, cells) in enumerate(zip(self.request.rows, self.cells, strict=True)):
            for column, cell in enumerate(cells):
                yield {
                    "row": row,
                    "column": column,
                    "path": format_path(cell.path),
                    "step": step,
                    "timestep": float(cell.timesteps[step]),
                    "alpha_bar": float(cell.alpha_bar[step]),
                    "key": cell.key,
                }

    def decisions(self, engine: Engine | None = None) -> "Results":
        """What its cells agree on, row by row: of this trunk alone. Nothing is evaluated."""
        study = begin_study(engine or default_engine(), GridStudy(self.request))
        return _results(study, None)

    def picture(self) -> bytes:
        """The grid as a PNG, its recipe inside; what it cost this time does not show."""
        view = View.of(self.request)
        made_of = texts(view, "grid", view.path, spec=self.spec, **_noted(self.trunk))
        return typography.to_png(self._drawn(), made_of)

    def _drawn(self) -> Image.Image:
        moments = _moments(self.trunk)
        count = len(self.request.paths)
        rows = tuple(
            Row(moments[step], tuple(Cell(cell.path, cell.image) for cell in cells))
            for step, cells in zip(self.request.rows, self.cells, strict=True)
        )
        costs = self.evaluations
        sheet = GridSheet(
            prompt=self.spec.prompt,
            recipe=recipe(self.spec, self.request.path),
            rows=rows,
            final=self.trunk.image,
            strip=moments,
            footer=f"{costs['minimum']} evaluations for {count} trajectories; "
            f"one by one they would take {costs['naive']}",
            note=self.trunk.x0_note,
        )
        return figures.draw_grid(sheet)

    def film(self, kind: Literal["webp", "gif"] = "webp") -> bytes:
        """All cells from noise to the finished pictures, its recipe inside; GIFs are far larger."""
        moments = [
            figures.draw_moment(
                self.trunk.image_at(step),
                [[cell.image_at(step) for cell in row] for row in self.cells],
            )
            for step in chosen_moments(self.trunk.steps + 1)
        ]
        made_of = write_recipe(View.of(self.request), spec=self.spec)
        return {"webp": to_webp, "gif": to_gif}[kind](moments, made_of)

    def to_html(self, *, address: str = "", engine: Engine | None = None) -> str:
        """The grid as one HTML page that plays with no server, with stored grids behind its cells.

        It takes 3 MB, or what the grid alone takes. `address` is an app's that others can open.
        """
        return self._page(engine, address).html().decode("utf-8")

    def _page(
        self, engine: Engine | None = None, address: str = "", *, behind: bool = True
    ) -> Page:
        trunk, engine = self.trunk, engine or default_engine()
        if find_model(self.spec.model).probe != PLAIN_PROBE:  # for the plain one a model is dear
            with suppress(Busy):  # then it has no labels
                begin_study(engine, GridStudy(self.request, include_focus=True)).wait()
        return page_of(
            self.request,
            {each.path: each.frames for each in (trunk, *chain.from_iterable(self.cells))},
            trunk,
            recipe(self.spec, self.request.path)[1:],
            engine,
            address,
            behind=behind,
        )

    def save(self, file: str | File) -> None:
        """Write the picture; or, by the name's ending, the page (.html), a film (.webp, .gif), or
        the trunk and all cells as runs (.diffgrid, which `open_runs` reads)."""
        if _holds_runs(file):
            every = [self.trunk, *(cell for row in self.cells for cell in row)]
            runs_file.write(file, [_shared(each) for each in every])
            return
        match File(file).suffix.lower():
            case ".html" | ".htm":
                content = self.to_html().encode("utf-8")
            case ".webp":
                content = self.film("webp")
            case ".gif":
                content = self.film("gif")
            case _:
                content = self.picture()
        write(("out", file, content))

    def _repr_html_(self) -> str:
        """The page in a frame; where a notebook does not trust it, the picture that lies below."""
        name = html.escape(f"diffusion grid: {self.spec.prompt}")
        small = self._drawn()
        small.thumbnail((LARGEST_PICTURE, LARGEST_PICTURE))
        coded = frames.encode(small, format="WEBP", quality=80, method=4)
        source = b64encode(coded).decode("ascii")
        style = f"grid-area: 1 / 1; max-width: 100%; max-height: {OUTPUT_HEIGHT}px"
        picture = f'<img alt="{name}" src="data:image/webp;base64,{source}" style="{style}">'
        page = self._page(behind=False).html(LARGEST_OUTPUT)
        if len(page) > LARGEST_OUTPUT:
            return picture
        content = html.escape(page.decode("utf-8"))
        style = f"grid-area: 1 / 1; width: 100%; height: {OUTPUT_HEIGHT}px; border: 0"
        return (
            f'<div style="display: grid">{picture}<iframe title="{name}" style="{style}" '
            f'sandbox="allow-scripts allow-downloads" srcdoc="{content}"></iframe></div>'
        )


def _costs(snapshot: WorkSnapshot, naive: int) -> dict[str, int]:
    return {
        "sampled": snapshot.sampled,
        "reused": max(0, snapshot.minimum - snapshot.sampled),
        "shared": naive - snapshot.minimum,
        "minimum": snapshot.minimum,
        "naive": naive,
    }


@lru_cache(maxsize=1)
def default_engine() -> Engine:
    """The engine of this process, on the default store."""
    return choose_engine(TrajectoryStore.default())


def specified(store: TrajectoryStore, *, image: Any = None, **options: Any) -> RunSpec:
    """A full specification; the picture it begins with, a file or a PIL image, goes to the store.

    One that is there already may go by its digest, as addresses have it.

    Raises:
        BadInput: an option is not allowed, or the picture cannot be read.
    """
    if image is None or image == "":
        return specify(**options)
    if isinstance(image, str) and re.fullmatch(r"[0-9a-f]{64}", image):
        return specify(**options, image=image)
    size = specify(**{**options, "strength": STRENGTH, "option": ""})
    picture = photo.fitted(photo.read(image), size.height, size.width)
    spec = specify(**options, image=photo.digest_of(picture))
    store.add_photo(spec.photo, photo.to_png(picture))
    return spec


def grid(
    *,
    rows: Iterable[int] | None = None,
    columns: int = 4,
    path: str = "trunk",
    fork: str = "fresh",
    engine: Engine | None = None,
    watch: Watch | None = None,
    **options: Any,
) -> Grid:
    """Branch one trajectory at several steps.

    `rows` are steps (default: about 4, 20 and 40 % of the way), `path` is the trajectory in
    view. `fork` is `fresh` (new noise from that step on) or `renoise:m` (m steps back to more
    noise, and down again). The other options are those of the command line: model, prompt,
    negative_prompt, seed, scheduler, steps, guidance, eta, height, width, dtype; `image`, a file or
    a PIL image, is what to begin with in place of noise, and `strength` how far to go from it.
    `watch` is called with the job's snapshots while it runs.

    Raises:
        BadInput: an option is not allowed; ModelError, StoreError: see `diffgrid.errors`.
    """
    engine = engine or default_engine()
    spec = specified(engine.store, **options)
    back = parse_fork_kind(fork)
    chosen = default_rows(spec.loop, back) if rows is None else _steps(rows)
    request = GridRequest.with_columns(spec, _path(path), chosen, columns, back)
    job = engine.submit(spec, request.paths)
    _finish(job, job.snapshot, watch)
    return finished_grid(request, job)


def trajectory(
    *,
    path: str = "trunk",
    exact: bool = False,
    engine: Engine | None = None,
    watch: Watch | None = None,
    **options: Any,
) -> Trajectory:
    """One trajectory; options as for `grid`.

    With `exact` x̂0 is decoded by the model's full VAE, where it would be in previews: a picture may
    take as long as several evaluations. It is kept.

    Raises:
        BadInput: an option is not allowed; ModelError, StoreError: see `diffgrid.errors`.
    """
    engine = engine or default_engine()
    spec, wanted = specified(engine.store, **options), _path(path)
    job = engine.submit(spec, [wanted], exact=exact)
    _finish(job, job.snapshot, watch)
    return finished_trajectory(job, wanted)


def open_runs(file: str | File) -> list[Trajectory]:
    """The runs in a file that `save`, the app or `python -m diffgrid export` wrote; none is stored.

    They are what the file says: whoever wrote it computed them, and nothing here did.

    Raises:
        BadInput: it is no such file, or damaged; OtherVersion: a newer diffgrid wrote it.
    """
    return [_with_pictures(run.trajectory, run.frames) for run in runs_file.read(file)]


@dataclass(frozen=True)
class StudyReport:
    """A finished study."""

    results: "Results"
    snapshot: StudySnapshot

    @property
    def evaluations(self) -> dict[str, int]:
        """What it cost: `minimum` = sampled + reused, `naive` = minimum + shared."""
        plan = self.results.plan
        return _costs(self.snapshot, plan.trunks * naive(plan.paths, plan.spec.length))

    def to_frame(self) -> "pd.DataFrame":
        """One row a factor and fork step: agreement, its interval, chance and ceiling."""
        return self.results.decisions.table()

    def report(self) -> dict[str, Any]:
        """Costs and decisions, ready for JSON."""
        costs = {"evaluations": self.evaluations, "seconds": round(self.snapshot.seconds, 3)}
        return costs | self.results.to_dict()


def study(
    *,
    trunks: int = 16,
    rows: Iterable[int] | None = None,
    columns: int = 4,
    engine: Engine | None = None,
    watch: Callable[[StudySnapshot], None] | None = None,
    **options: Any,
) -> StudyReport:
    """When is what decided? Branch the seeds 0 … trunks-1 and see what their branches agree on.

    Options as for `grid`, but the seed; `rows` are steps (default: twice as many as a grid's).

    Raises:
        BadInput: an option is not allowed; ModelError, StoreError: see `diffgrid.errors`.
    """
    engine = engine or default_engine()
    spec = specified(engine.store, **options)
    chosen = study_rows(spec.loop) if rows is None else tuple(sorted(set(_steps(rows))))
    plan = Plan(spec, trunks, chosen, columns)
    under_way = begin_study(engine, plan)
    return StudyReport(_results(under_way, watch), under_way.snapshot)


def _results(under_way: Study, watch: Callable[[StudySnapshot], None] | None) -> "Results":
    from diffgrid.decisions.results import results  # here: pandas takes long to import

    _finish(under_way, lambda: under_way.snapshot, watch)
    if under_way.snapshot.error:
        raise under_way.snapshot.error
    return results(under_way, under_way.plan.trunks, bands=under_way.plan.trunks > 1)


def finished_grid(request: GridRequest, job: Job) -> Grid:
    """The grid that a job has finished.

    Raises:
        DiffgridError: it has not, or the cache has dropped a run since.
    """
    made = {path: finished_trajectory(job, path) for path in request.paths}
    cells = tuple(tuple(made[path] for path in row) for row in request.cells)
    return Grid(request, made[request.path], cells, job.snapshot())


def finished_trajectory(job: Job, path: Path) -> Trajectory:
    """One trajectory that a job has finished, with its pictures; the job itself may go on.

    Raises:
        DiffgridError: it is not finished, or the cache has dropped it since.
    """
    return _with_pictures(*job.result(path))


def _with_pictures(found: trajectories.Trajectory, pictures: Frames) -> Trajectory:
    values = {field.name: getattr(found, field.name) for field in fields(found)}
    return Trajectory(**values, frames=pictures)


def _shared(run: Trajectory) -> SharedRun:
    return SharedRun(run, run.frames)


def _holds_runs(file: str | File) -> bool:
    return File(file).suffix == runs_file.SUFFIX


def _words(trajectory: Trajectory) -> str:
    """What it is in one line: its arrays and pictures would be pages."""
    spec = trajectory.spec
    return f"{shown(spec.prompt)}: {', '.join(recipe(spec, trajectory.path))}"


def recipe(spec: RunSpec, path: Path) -> tuple[str, ...]:
    """A run in words, for captions."""
    scheduler = scheduler_name(spec)
    words = [
        describe(path),
        f"seed {spec.seed}",
        f"{spec.num_inference_steps} steps",
        scheduler if spec.eta is None else f"{scheduler}, eta {spec.eta:g}",
        f"guidance {spec.guidance_scale:g}",
        File(spec.model).name,
    ]
    if spec.negative_prompt:
        words.append(f"not “{spec.negative_prompt}”")
    words += [f"{name} {value}" for name, value in spec.added_words.items()]
    return tuple(words)


def write(*outputs: tuple[str, str | File, bytes]) -> None:
    """Write all files, each with the option that names it, whole or not at all.

    Raises:
        BadInput: one cannot be written.
    """
    ready: list[tuple[str, File, File]] = []
    try:
        for option, name, content in outputs:
            target = File(name)
            beside = target.parent / f".{target.name[:200]}.{os.getpid()}"
            with _writing(option, target):
                if target.exists() and not target.is_file():  # /dev/stdout, say
                    target.write_bytes(content)
                else:
                    ready.append((option, beside, target))
                    beside.write_bytes(content)
        for option, beside, target in ready:
            with _writing(option, target):
                beside.replace(target)
    finally:
        for _, beside, _ in ready:
            with suppress(OSError):
                beside.unlink()


@contextmanager
def _writing(option: str, file: File) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadInput(
            f"{option} {str(file)!r} cannot be written ({error.strerror}): choose another file."
        ) from error


def _steps(rows: Iterable[int]) -> tuple[int, ...]:
    try:
        return tuple(index(row) for row in rows)  # numpy's whole numbers too
    except TypeError:
        raise BadInput(f"rows {rows!r} are not allowed: give steps, such as [1, 5, 10].") from None


def _path(text: str) -> Path:
    if not isinstance(text, str):  # 5.2 looks like a path, and is none
        raise BadInput(f"path {text!r} is not allowed: write it as text, such as '8.2'.")
    return parse_path(text)


def _finish(work: Job | Study, look: Callable[[], _S], watch: Callable[[_S], None] | None) -> None:
    """Wait for it; whoever watches is shown what there is to `look` at, the end too."""
    try:
        while not work.wait(0.05 if watch else None):
            if watch:
                watch(look())
    except KeyboardInterrupt:
        work.cancel()
        work.wait()
        raise
    if watch:
        watch(look())


def _moments(shown: Trajectory) -> tuple[Moment, ...]:
    return tuple(
        Moment(step, float(timestep), picture)
        for step, (timestep, picture) in enumerate(
            zip(shown.timesteps, shown.x0_images, strict=True)
        )
    )


def _noted(shown: Trajectory) -> dict[str, str]:
    """What a recipe says of approximate pictures."""
    return {"note": shown.x0_note} if shown.x0_note else {}
