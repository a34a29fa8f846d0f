"""What a session works on: the grid it looks at, and the one job that makes it."""

from contextlib import suppress

import streamlit as st

from diffgrid.api import Trajectory, finished_grid, finished_trajectory
from diffgrid.engine import Engine, Job, LocalEngine
from diffgrid.errors import DiffgridError
from diffgrid.spec import Grid
from diffgrid.store import TrajectoryStore


class Desk:
    """One grid at a time: asking for another cancels the job under way."""

    def __init__(self) -> None:
        self.grid: Grid | None = None
        self.job: Job | None = None
        self._trunk: Trajectory | None = None

    def ask(self, grid: Grid, again: bool) -> None:
        """Work on this grid; `again` starts anew what failed or was cancelled.

        Raises:
            DiffgridError: the job cannot be started; the last one stays.
        """
        broken = self.job is not None and self.job.snapshot().state in ("failed", "cancelled")
        if grid == self.grid and not (broken and again):
            return
        job = engine().submit(grid.spec, grid.paths)
        self.clear()
        self.grid, self.job, self._trunk = grid, job, None

    def clear(self) -> None:
        """Cancel the job, if one is under way."""
        if self.job:
            self.job.cancel()

    def trunk(self) -> Trajectory | None:
        """The trajectory in view, from the moment it is finished: before the job is."""
        if self._trunk or not (self.grid and self.job):
            return self._trunk
        if self.job.snapshot().paths[self.grid.path].done:
            with suppress(DiffgridError):  # dropped from the cache since: its moments stay blank
                self._trunk = finished_trajectory(self.job, self.grid.path)
        return self._trunk

    def picture(self) -> bytes:
        """The finished grid as a PNG to post.

        Raises:
            DiffgridError: it is not finished, or the cache has dropped a run since.
        """
        if not (self.grid and self.job):
            raise DiffgridError("there is no grid yet: press Sample.")
        return finished_grid(self.grid, self.job).picture()


@st.cache_resource(show_spinner=False)
def engine() -> Engine:
    """The engine of this process, and with it the store; torch comes with its first job.

    Raises:
        StoreError: the cache directory cannot be used.
    """
    return LocalEngine(TrajectoryStore.default())


@st.cache_resource(show_spinner=False, scope="session", on_release=Desk.clear)
def desk() -> Desk:
    """This session's desk; cleared when its tab is closed."""
    return Desk()
