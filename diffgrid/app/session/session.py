"""What a session works on: the view it looks at, and the job that makes it."""

import math
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Literal
from uuid import uuid4

from diffgrid.app.components.shared.inbox import Inbox
from diffgrid.app.session.address import Address
from diffgrid.app.session.compared import Compared
from diffgrid.app.session.history import History
from diffgrid.app.session.labels import Labels
from diffgrid.app.session.one_run import OneRun
from diffgrid.app.session.page import Page
from diffgrid.app.session.request import PATIENCE, PATIENCE_FOR_A_LINK, Request
from diffgrid.app.session.stars import set_star
from diffgrid.app.session.thumbnails import Thumbnails
from diffgrid.browser.protocol import SentImages
from diffgrid.engine.protocol import Engine, Job
from diffgrid.errors import BadInput, DiffgridError
from diffgrid.limits import Limits
from diffgrid.models.registry import find_model
from diffgrid.records.frames import Frames
from diffgrid.sharing import photo
from diffgrid.sharing.view import View
from diffgrid.spec.grid import Grid
from diffgrid.spec.path import Path
from diffgrid.spec.run import RunSpec, key

SECONDS_TO_PAINT = 3.0
HEAD_START = 0.3  # seconds that the first grid has before the rest of its page
# From so many requests on that are served first, the seconds between two looks at a job: many that
# wait would keep the server from its work.
SECONDS_BETWEEN_LOOKS = {8: 8.0, 2: 2.0, 0: 0.5}
SECONDS_TO_ANSWER = 0.2  # a click on what is cached is answered within its own run

Around = tuple[float | None, *tuple[object, ...]]


class Session:
    """One view at a time: asking for another cancels the job under way.

    `close` may come from another thread while a page is drawn: what it takes away is read once.
    `engine` is asked for where it is first needed: opening its store may fail.
    """

    def __init__(self, engine: Callable[[], Engine], name: str | None = None) -> None:
        self.name = name or uuid4().hex
        self.history = History(View.default())
        self.request = Request(engine, self.name)
        self.one_run = OneRun(engine, self.name)
        self.labels = Labels(engine)
        self.thumbnails = Thumbnails(engine)
        self.compared = Compared()
        self.address = Address()
        self.grid: Grid | None = None  # the view's, once it was asked for
        self.job: Job | None = None
        self.error: str | None = None  # what was asked for last and cannot be
        self.lane: Literal["x0", "xt"] = "x0"
        self.next: tuple[Page, dict[str, str]] | None = None  # a page to go to, and its query
        self.sharing = False  # whether the link is to be shown
        self.sent_images = SentImages()  # which pictures the grid on the page holds
        self.sent_thumbnails = SentImages()  # and which the history under it
        self.inbox = Inbox()  # what was done on the page
        self.generation = 0  # rises when the form must show other values than were typed
        self.fields: dict[str, tuple[int, str]] = {}  # of the form: generation and key, as drawn
        self.warmed = False  # whether the first page is through
        self.interrupted = False  # whether the browser may not have heard of the newest address
        self._engine = engine
        self._made: dict[Path, Frames] = {}
        self._levels: list[tuple[float, float]] | None = None

    @property
    def view(self) -> View:
        """What is looked at."""
        return self.history.view

    @property
    def form(self) -> View:
        """What the form shows: what was asked for last, be it only offered."""
        return self.request.offer.view if self.request.offer else self.view

    # Going somewhere.

    def open(self) -> None:
        """Ask for the view, where that was not done yet."""
        if self.grid is None and self.request.offer is None:
            error = self.error  # what an address said in vain
            self._ask(self.view, PATIENCE_FOR_A_LINK)
            self.error = self.error or error

    def go(self, view: View, patience: float = math.inf) -> None:
        """Look at another view, unless it cannot be, or takes longer than `patience` seconds."""
        if view != self.view and self._ask(view, patience):
            self.history.go(view)

    def change(self, view: View) -> None:
        """What the form asks for: at once, or as an offer where it would take long."""
        if view == self.view:
            self.request.offer = self.error = None
            return
        self.go(view, PATIENCE)

    def accept(self, view: View) -> None:
        """Sample what was offered, or a smaller grid in its place."""
        self.generation += 1
        self.request.offer = None
        if view == self.view:
            self.again()
        self.go(view)

    def again(self) -> None:
        """Ask once more for what was never sampled, failed or was cancelled."""
        job = self.job
        if not job or job.snapshot().state in ("failed", "cancelled"):
            self._ask(self.view)

    def begin_with(self, file: bytes) -> View:
        """What the form shows, from an uploaded picture in place of noise; that goes to the store.

        Raises:
            DiffgridError: it cannot be read, or its model takes none.
        """
        spec = self.form.spec
        picture = photo.fitted(photo.decode(file, "the photo"), spec.height, spec.width)
        view = self.form.with_options(image=photo.digest_of(picture))
        view.spec.check(Limits.from_environment())
        self._engine().store.add_photo(view.spec.photo, photo.to_png(picture))
        return view

    def begun_with(self) -> bytes | None:
        """The picture that the form's view begins with, a PNG; None where it is not here."""
        return self._engine().store.get_photo(self.form.options["image"])

    def undo(self) -> None:
        """Go back to the view before."""
        self._step(self.history.before, self.history.undo)

    def redo(self) -> None:
        """Take back an undo."""
        self._step(self.history.after, self.history.redo)

    def _step(self, view: View | None, step: Callable[[], None]) -> None:
        shown, stale = self.form, self.stale
        if view and self._ask(view):
            step()
            # A new form costs a whole run.
            self.generation += stale or not _same_form(shown, view)

    def give_up(self) -> None:
        """Go on with the model in the box, where the other is lost."""
        self.generation += 1
        self.change(View.default())

    def load_query(self, page: Page, query: Mapping[str, str], *, back: bool = False) -> None:
        """Come to a page, or stay, and follow its address where somebody else wrote it.

        `back` says that it is one of the browser's own, gone back to.
        """
        first = self.address.page is None
        if page != self.address.page:
            # A new page starts without any.
            self.sent_images, self.sent_thumbnails = SentImages(), SentImages()
            self.next, self.sharing = None, False  # somebody went elsewhere since
        try:
            asked = self.address.load_query(page, query, self.view, back=back)
        except BadInput as error:
            self.error = str(error)
            return
        if asked is None:
            self.interrupted &= not query  # it says the newest
            return
        view, path = asked
        if self.interrupted and not back and (not query or view in self.history):
            return  # an address of before
        self.interrupted = False
        if page.shows_one_path:
            self.one_run.pick(view, path)
            if view == self.view:
                return
        self.visit(view)
        if first:
            self.history = History(view)  # nothing was on view before it

    def visit(self, view: View) -> None:
        """Go where a link or a file leads."""
        self.generation += 1
        self.error = None
        self.go(view, PATIENCE_FOR_A_LINK)
        if self.view != view:  # it shows what it leads to, though that is offered or refused
            self.history.go(view)
            self._enter(view.grid(), None)

    # What is asked of the engine.

    def _ask(self, view: View, patience: float = math.inf) -> bool:
        """Whether the view is being made now; if not, the offer or `error` says why."""
        self.request.offer = self.error = None
        try:
            grid, page = view.grid(), self.address.page
            if page and not page.asks_for_grid:  # the grid's own page asks for it
                self.clear()
                self.grid = self.job = None
                return True
            job = self.request.ask(view, patience, noisy=self.lane == "xt")
        except DiffgridError as error:
            self.error = str(error)
            return False
        if job:
            self._enter(grid, job)
        return job is not None

    def _enter(self, grid: Grid, job: Job | None) -> None:
        self.clear()
        before, made = self.grid, self._made
        if before != grid:
            self.labels.put_off()
        if before is None or before.spec != grid.spec:
            made, self._levels = {}, None
        self._made = {path: made[path] for path in grid.paths if path in made}
        self.grid, self.job = grid, job

    def clear(self) -> None:
        """Cancel the grid's job, if one is under way."""
        if job := self.job:
            job.cancel()

    def close(self) -> None:
        """Nobody is there any more: cancel all, and give back what is held.

        Streamlit keeps the callbacks of a tab that is gone, and so this session, for minutes.
        """
        self.clear()
        self.one_run.put_aside()
        self.labels.put_off()
        self.grid = self.job = self._levels = None
        self._made, self.sent_images, self.sent_thumbnails = {}, SentImages(), SentImages()
        self.thumbnails.put_aside()
        self.interrupted = True

    def rest(self, path: Path) -> None:
        """The pointer rests on a cell: when idle, sample what a click on it would need."""
        if self.done:  # what was not asked for, or stopped, is not wanted
            with suppress(DiffgridError):
                self.request.ahead(self.view.follow(path))

    def warm(self) -> None:
        """Have the model loaded when nobody waits: the first grid needs none, the next one will.

        Not at once: importing torch takes a whole core, which the browser's first paint wants.
        """
        if self.warmed:
            return
        self.warmed = True
        with suppress(DiffgridError):
            ask, spec = self._engine().warm, self.view.spec

            def painted() -> None:
                ask(spec)
                self.labels.may_begin = True

            later = threading.Timer(SECONDS_TO_PAINT, painted)
            later.daemon = True
            later.start()

    # How it stands.

    @property
    def running(self) -> bool:
        """Whether a job is under way."""
        job = self.job
        return job is not None and not job.snapshot().ended

    @property
    def look_again(self) -> float | None:
        """Seconds until the page looks at its job again; None where there is nothing to see."""
        job = self.job
        if not job or (snapshot := job.snapshot()).ended:
            return None
        looks = SECONDS_BETWEEN_LOOKS.items()
        return next(seconds for least, seconds in looks if snapshot.before >= least)

    @property
    def done(self) -> bool:
        """Whether all that is on view is made."""
        job = self.job
        return job is not None and job.snapshot().state == "done"

    @property
    def stale(self) -> bool:
        """Whether the form may hold what was refused or not decided yet."""
        return self.error is not None or self.request.offer is not None

    @property
    def lost(self) -> str | None:
        """Why no page can show anything of the model any more: its folder was moved, say."""
        try:
            find_model(self.form.model)
        except BadInput as error:
            return str(error)
        return None

    @property
    def around(self) -> Around:
        """What the page around the grid depends on; when it looks again comes first."""
        return self.look_again, self.error, self.request.offer, self.generation, self.lost

    # What is there.

    def made(self) -> Mapping[Path, Frames]:
        """The pictures of every finished trajectory on view."""
        job, made = self.job, self._made
        if job:
            for path, view in job.snapshot().paths.items():
                known = made.get(path)
                if view.done and (known is None or known.decoding.outdated):
                    with suppress(DiffgridError):  # dropped from the cache since
                        made[path] = job.frames(path)
        return made

    @property
    def note(self) -> str:
        """What is said of the pictures of x̂0 on view, where they are approximate."""
        decodings = [frames.decoding for frames in self.made().values()]
        if job := self.job:
            decodings.append(job.snapshot().decoding)
        return next((each.note for each in decodings if each.approximate), "")

    @property
    def levels(self) -> list[tuple[float, float]] | None:
        """Timestep and ᾱ before each step, once the trajectory in view is known."""
        grid, job = self.grid, self.job
        if self._levels is None and grid and job and grid.path in self.made():
            with suppress(DiffgridError):
                seen, _ = job.result(grid.path)
                timesteps, alpha_bar = seen.timesteps.tolist(), seen.alpha_bar.tolist()
                self._levels = list(zip(timesteps, alpha_bar[:-1], strict=True))
        return self._levels

    def noisy(self, path: Path) -> tuple[bytes, ...] | None:
        """x_t's pictures, where they were asked for and are there."""
        job = self.job
        if self.lane == "xt" and job and job.snapshot().state == "done":
            with suppress(DiffgridError):
                return job.noisy(path)
        return None

    def show_lane(self, lane: str) -> None:
        """x̂0, or x_t, whose pictures are decoded only when asked for."""
        before = self.lane
        self.lane = "xt" if lane == "xt" else "x0"
        if self.lane == "xt" and self.job and not self._ask(self.view):
            self.lane = before

    def seen(self) -> Mapping[Path, Mapping[str, str]] | None:
        """What a probe sees in each final, factor -> value; None while that is still to come."""
        grid = self.grid
        return self.labels.look(grid) if grid and self.done else {}

    def starred(self) -> set[Path]:
        """The paths on view that are kept for good."""
        grid = self.grid
        if grid is None:
            return set()
        try:
            saved = self._engine().store.is_saved
            return {path for path in grid.paths if saved(key(grid.spec, path))}
        except DiffgridError:  # a failing cache is told by the job
            return set()

    def star(self, spec: RunSpec, path: Path, on: bool) -> None:
        """Keep a trajectory for good, or no longer.

        Raises:
            DiffgridError: it cannot be kept.
        """
        set_star(self._engine().store, spec, path, on)

    def furthest(self, spec: RunSpec, path: Path, job: Job) -> Job:
        """Of a path's own job and the grid's, which may stand before it in the queue, the first."""
        jobs, other, grid = [job], self.job, self.grid
        if other and grid and grid.spec == spec and path in grid.paths:
            jobs.append(other)

        def how_far(job: Job) -> tuple[int, bool]:
            snapshot = job.snapshot()
            return snapshot.paths[path].step, snapshot.state in ("loading", "sampling")

        return max(jobs, key=how_far)


def _same_form(one: View, other: View) -> bool:
    """Whether the form shows the same for both: it has neither the path nor single rows."""
    shapes = [(len(view.rows), view.columns) for view in (one, other)]
    alike = replace(one, path=other.path, rows=other.rows) == other
    return alike and shapes[0] == shapes[1]
