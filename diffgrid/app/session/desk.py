"""What a session works on: the view it looks at, how it came there, and the job that makes it."""

import logging
import math
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import streamlit as st

from diffgrid.app.components.shared.inbox import Inbox
from diffgrid.app.components.shared.protocol import Ledger
from diffgrid.decisions.study import OneTree, OnView, Study, begin_study
from diffgrid.engine.local import LocalEngine
from diffgrid.engine.protocol import Engine, Estimate, Job
from diffgrid.errors import BadInput, DiffgridError
from diffgrid.limits import Limits
from diffgrid.models.folder import BUNDLED
from diffgrid.models.registry import find_model
from diffgrid.records.frames import Frames
from diffgrid.records.trajectories import Trajectory
from diffgrid.sharing.address import from_query, to_query
from diffgrid.sharing.view import View
from diffgrid.spec.grid import Grid
from diffgrid.spec.path import Path, describe, minimum
from diffgrid.spec.run import RunSpec, key
from diffgrid.store.forgiving import TrajectoryStore

# Seconds. A change of the form that takes longer is sampled only when somebody says so, unless it
# is no larger than the first grid: a change of the prompt alone never has to ask with a bundled
# model. Whoever opens an address waits longer for what it leads to.
PATIENCE = 5.0
PATIENCE_FOR_A_LINK = 60.0
MOST_UNDONE = 200
SECONDS_TO_PAINT = 3.0
HEAD_START = 0.3  # seconds that the first grid has before the rest of its page
LARGEST_UNASKED = 300  # evaluations of a bundled model; the first grid takes 281
FEW = 60  # evaluations, to begin with where nothing was timed yet
SECONDS_TO_ANSWER = 0.2  # a click on what is cached is answered within its own run

Labels = Mapping[Path, Mapping[str, str]]  # factor -> value, of each path
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Offer:
    """A view that takes long, not yet sampled, and what it would take."""

    view: View
    evaluations: int
    seconds: float | None  # None where nothing was timed yet


class Desk:
    """One view at a time: asking for another cancels the job under way."""

    def __init__(self) -> None:
        self.name = uuid4().hex
        self.view = View.default()
        self.grid: Grid | None = None  # the view's, once it was asked for
        self.job: Job | None = None
        self.offer: Offer | None = None
        self.error: str | None = None  # what was asked for last and cannot be
        self.lane = "x0"
        self.next: tuple[str, dict[str, str]] | None = None  # a page to go to, and its address
        self.sharing = False  # whether the link is to be shown
        self.ledger = Ledger()  # which pictures the grid on the page holds
        self.inbox = Inbox()  # what was done on the page
        # The job for one trajectory of the grid, and which: the strip's own.
        self.aside: tuple[tuple[RunSpec, Path], Job] | None = None
        self.generation = 0  # rises when the form must show other values than were typed
        self._past: deque[View] = deque(maxlen=MOST_UNDONE)
        self._future: deque[View] = deque(maxlen=MOST_UNDONE)
        self._written: dict[str, str] | None = None  # the address as this session wrote it
        self._page: str | None = None
        self.warmed = False  # whether the first page is through
        self._painted = False  # whether the first paint is over: torch may load
        self._followed = False  # whether the address came from elsewhere and is to be confirmed
        self._looked_at: tuple[View, Path] | None = None
        self._made: dict[Path, Frames] = {}
        self._seen: Trajectory | None = None
        self._study: Study | None = None  # what labels the grid's finals
        self._labels: Labels | None = None  # None: still to come

    @property
    def form(self) -> View:
        """What the form shows: what was asked for last, be it only offered."""
        return self.offer.view if self.offer else self.view

    # Going somewhere.

    def open(self) -> None:
        """Ask for the view, where that was not done yet."""
        if self.grid is None and self.offer is None:
            error = self.error  # what an address said in vain
            self._ask(self.view, PATIENCE_FOR_A_LINK)
            self.error = self.error or error

    def go(self, view: View, patience: float = math.inf) -> None:
        """Look at another view, unless it cannot be, or takes longer than `patience` seconds."""
        if view != self.view and self._ask(view, patience):
            self._past.append(self.view)
            self._future.clear()
            self.view = view

    def change(self, view: View) -> None:
        """What the form asks for: at once, or as an offer where it would take long."""
        if view == self.view:
            self.offer = self.error = None
            return
        self.go(view, PATIENCE)

    def accept(self, view: View) -> None:
        """Sample what was offered, or a smaller grid in its place."""
        self.generation += 1
        self.offer = None
        if view == self.view:
            self.again()
        self.go(view)

    def smaller(self) -> View | None:
        """The offer, with fewer steps and cells, as large as takes no patience."""
        if not self.offer:
            return None
        seconds = self.offer.seconds
        rate = seconds / max(1, self.offer.evaluations) if seconds else PATIENCE / FEW
        shapes = [(4, 4), (3, 3), (2, 3), (2, 2), (1, 2)]
        for steps in sorted({min(self.offer.view.steps, n) for n in (50, 25, 12, 4)}, reverse=True):
            for rows, columns in shapes:
                view = self.offer.view.with_options(steps=steps).with_shape(rows, columns)
                with suppress(BadInput):  # a scheduler that cannot take so few
                    if minimum(view.grid().paths, view.loop.length) * rate < PATIENCE:
                        return view
        return None

    def again(self) -> None:
        """Ask once more for what was never sampled, failed or was cancelled."""
        if not self.job or self.job.snapshot().state in ("failed", "cancelled"):
            self._ask(self.view)

    def undo(self) -> None:
        """Go back to the view before."""
        self._step(self._past, self._future)

    def redo(self) -> None:
        """Take back an undo."""
        self._step(self._future, self._past)

    def _step(self, source: deque[View], target: deque[View]) -> None:
        shown, stale = self.form, self.stale
        if source and self._ask(source[-1]):
            target.append(self.view)
            self.view = source.pop()
            # A new form costs a whole run.
            self.generation += stale or not _same_form(shown, self.view)

    @property
    def running(self) -> bool:
        """Whether a job is under way."""
        return self.job is not None and not self.job.snapshot().ended

    @property
    def stale(self) -> bool:
        """Whether the form may hold what was refused or not decided yet."""
        return self.error is not None or self.offer is not None

    @property
    def lost(self) -> str | None:
        """Why no page can show anything of the model any more: its folder was moved, say."""
        try:
            find_model(self.form.model)
        except BadInput as error:
            return str(error)
        return None

    @property
    def around(self) -> tuple[object, ...]:
        """What the page around the grid depends on; whether a job runs comes first."""
        return self.running, self.error, self.offer, self.generation, self.lost

    def give_up(self) -> None:
        """Go on with the model in the box, where the other is lost."""
        self.generation += 1
        self.change(View.default())

    @property
    def can_undo(self) -> bool:
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        return bool(self._future)

    def _ask(self, view: View, patience: float = math.inf) -> bool:
        """Whether the view is being made now; if not, `offer` or `error` says why."""
        self.offer = self.error = None
        try:
            grid = view.grid()
            if self._page == "decisions":  # it shows no grid: the grid's own page asks for it
                self.clear()
                self.grid = self.job = None
                return True
            estimate = engine().estimate(grid.spec, grid.paths)
            # Counted by the first grid's size, and its model.
            other = view.height or view.width or view.model not in BUNDLED
            large = other or estimate.evaluations > LARGEST_UNASKED
            seconds = math.inf if estimate.seconds is None else estimate.seconds
            if large and estimate.evaluations and seconds > patience:
                self.offer = Offer(view, estimate.evaluations, estimate.seconds)
                return False
            job = self._submit(grid)
        except DiffgridError as error:
            self.error = str(error)
            return False
        self._enter(grid, job)
        return True

    def _enter(self, grid: Grid, job: Job | None) -> None:
        self.clear()
        if self.grid != grid:
            self._put_off()
        if self.grid is None or self.grid.spec != grid.spec:
            self._made, self._seen = {}, None
        self._made = {path: self._made[path] for path in grid.paths if path in self._made}
        self.grid, self.job = grid, job

    def _submit(self, grid: Grid) -> Job:
        return engine().submit(
            grid.spec,
            grid.paths,
            session=self.name,
            noisy=self.lane == "xt",
            limits=Limits.from_environment(),
            trust=True,  # pictures are shown at once; arrays are checked when they are used
        )

    def clear(self) -> None:
        """Cancel the grid's job, if one is under way."""
        if self.job:
            self.job.cancel()

    def close(self) -> None:
        """Nobody is there any more: cancel all."""
        self.clear()
        self.put_aside()
        self._put_off()

    # What its pictures show.

    def labels(self) -> Labels:
        """What a probe sees in each final, once the grid is done; empty before, or if it fails."""
        done = self.job is not None and self.job.snapshot().state == "done"
        if self._labels is None and self.grid and done:
            try:
                self._labels = self._look(OnView(self.grid))
            except DiffgridError as error:
                log.info("the grid has no labels: %s", error)
                self._labels = {}
        return self._labels or {}

    @property
    def labelling(self) -> bool:
        """Whether labels of what is on view are still to come."""
        done = self.job is not None and self.job.snapshot().state == "done"
        return done and not self.labels() and self._labels is None

    def _look(self, tree: OneTree) -> Labels | None:
        # To begin one may take torch, which the first paint is not to wait for.
        limits, begin = Limits.from_environment(), self._painted
        study = self._study or begin_study(engine(), tree, limits=limits, begin=begin)
        self._study = study if begin else None
        if not study.snapshot.ended:
            return None
        if study.snapshot.error:
            raise study.snapshot.error
        return {path: found.labels for _, path, found in study.findings(1)}

    def _put_off(self) -> None:
        if self._study:
            self._study.cancel()
        self._study = self._labels = None

    # One trajectory, beside the grid.

    def look_at(self, path: Path) -> None:
        """Show this path of the grid by itself; the grid stays as it is."""
        self._looked_at = self.view, path

    def looked_at(self, grid: Grid) -> Path:
        """The path that is shown by itself: the last one picked, or else the grid's own."""
        if self._looked_at and self._looked_at[0] == self.view:
            path = self._looked_at[1]
            return path if path in grid.paths else grid.path
        return grid.path

    def put_aside(self) -> None:
        """Cancel the job for one trajectory."""
        if self.aside:
            self.aside[1].cancel()
            self.aside = None

    # The address.

    def heed(self, page: str, query: Mapping[str, str]) -> None:
        """Follow the address where somebody else wrote it: a link, a bookmark, the back button.

        A page that is come to without a query shows what was on view. The strip looks at a path of
        the grid by itself.
        """
        arrived, self._page = page != self._page, page
        if arrived:
            self.ledger = Ledger()  # a new page starts without any
        if page == "compare" or (arrived and not query):
            self._written = None  # this address is not the view's: it will be written
            return
        if dict(query) == self._written:
            return
        self._written, self._followed = dict(query), True
        try:
            view = from_query(query)
        except BadInput as error:
            self.error = str(error)
            return
        near = view.follow(self.view.path) == self.view
        if page == "strip" and near and view.path in self.view.grid().paths:
            self.look_at(view.path)
            return
        self.generation += 1
        self.go(view, PATIENCE_FOR_A_LINK)
        if self.view != view:  # a link shows what it leads to, though it is offered or refused
            self._past.append(self.view)
            self._future.clear()
            self.view = view
            self._enter(view.grid(), None)

    def sign(self, path: Path | None = None) -> None:
        """Write the view into the address, in one update."""
        view = self.view if path is None else self.view.follow(path)
        query = to_query(view)
        # A link within the app changes the query but not the browser's address until it is written.
        if query != self._written or st.query_params.to_dict() != query or self._followed:
            st.query_params.from_dict(query)
        self._written, self._followed = query, False

    # What is there.

    def made(self) -> Mapping[Path, Frames]:
        """The pictures of every finished trajectory on view."""
        if self.job:
            for path, view in self.job.snapshot().paths.items():
                if view.done and path not in self._made:
                    with suppress(DiffgridError):  # dropped from the cache since
                        self._made[path] = self.job.frames(path)
        return self._made

    @property
    def levels(self) -> list[tuple[float, float]] | None:
        """Timestep and ᾱ before each step, once the trajectory in view is known."""
        if self._seen is None and self.grid and self.job and self.grid.path in self.made():
            with suppress(DiffgridError):
                self._seen, _ = self.job.result(self.grid.path)
        if self._seen is None:
            return None
        timesteps, alpha_bar = self._seen.timesteps.tolist(), self._seen.alpha_bar.tolist()
        return list(zip(timesteps, alpha_bar[:-1], strict=True))

    def noisy(self, path: Path) -> tuple[bytes, ...] | None:
        """x_t's pictures, where they were asked for and are there."""
        if self.lane == "xt" and self.job and self.job.snapshot().state == "done":
            with suppress(DiffgridError):
                return self.job.noisy(path)
        return None

    def show_lane(self, lane: str) -> None:
        """x̂0, or x_t, whose pictures are decoded only when asked for."""
        before, self.lane = self.lane, "xt" if lane == "xt" else "x0"
        if self.lane == "xt" and self.job and not self._ask(self.view):
            self.lane = before

    def rest(self, path: Path) -> None:
        """The pointer rests on a cell: when idle, sample what a click on it would need."""
        if self.job is None or self.job.snapshot().state != "done":
            return  # what was not asked for, or stopped, is not wanted
        with suppress(DiffgridError):
            grid = self.view.follow(path).grid()
            if _patient(engine().estimate(grid.spec, grid.paths)):
                engine().ahead(grid.spec, grid.paths, self.name)

    def warm(self) -> None:
        """Have the model loaded when nobody waits: the first grid needs none, the next one will.

        Not at once: importing torch takes a whole core, which the browser's first paint wants.
        """
        if self.warmed:
            return
        self.warmed = True
        with suppress(DiffgridError):
            ask, spec = engine().warm, self.view.spec

            def painted() -> None:
                ask(spec)
                self._painted = True

            later = threading.Timer(SECONDS_TO_PAINT, painted)
            later.daemon = True
            later.start()

    def starred(self) -> set[Path]:
        """The paths on view that are kept for good."""
        if self.grid is None:
            return set()
        try:
            return {path for path in self.grid.paths if store().is_saved(key(self.grid.spec, path))}
        except DiffgridError:  # a failing cache is told by the job
            return set()

    def star(self, path: Path) -> None:
        """Keep a trajectory for good, or no longer.

        Raises:
            DiffgridError: it is no longer in the cache, there is no room, or it was saved by name.
        """
        if not Limits.from_environment().keeps:
            raise BadInput("this server keeps nothing for its visitors: download the picture.")
        name, star = key(self.view.spec, path), f"★ {describe(path)}"[:200]
        saved = store().saved(name)
        if saved is None:
            store().save(name, star)
        elif saved.saved == star and not saved.note:
            store().unsave(name)
        else:
            raise BadInput(f"this run is saved as “{saved.saved}”: remove it on Compare runs.")


@st.cache_resource(show_spinner=False)
def store() -> TrajectoryStore:
    """The store of this process.

    Raises:
        StoreError: the cache directory cannot be used.
    """
    return TrajectoryStore.default()


@st.cache_resource(show_spinner=False)
def engine() -> Engine:
    """The engine of this process; torch comes with its first job that has to sample.

    Raises:
        StoreError: the cache directory cannot be used.
    """
    return LocalEngine(store())


@st.cache_resource(show_spinner=False, scope="session", on_release=Desk.close)
def desk() -> Desk:
    """This session's desk; cleared when its tab is closed."""
    return Desk()


def _same_form(one: View, other: View) -> bool:
    """Whether the form shows the same for both: it has neither the path nor single rows."""
    shapes = [(len(view.rows), view.columns) for view in (one, other)]
    alike = replace(one, path=other.path, rows=other.rows) == other
    return alike and shapes[0] == shapes[1]


def _patient(estimate: Estimate) -> bool:
    """Whether it takes no patience; where nothing was timed yet, only what takes nothing does."""
    unknown = math.inf if estimate.evaluations else 0.0
    return (unknown if estimate.seconds is None else estimate.seconds) <= PATIENCE


def option(view: View, **changes: Any) -> View:
    """Other options of the run, the view unchanged where they are the same."""
    changed = {name: value for name, value in changes.items() if view.options[name] != value}
    return view.with_options(**changed) if changed else view
