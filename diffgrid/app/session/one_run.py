"""One trajectory by itself, beside the grid."""

from collections.abc import Callable

from diffgrid.engine.protocol import Engine, Job
from diffgrid.limits import Limits
from diffgrid.sharing.view import View
from diffgrid.spec.grid import Grid
from diffgrid.spec.path import Path
from diffgrid.spec.run import RunSpec


class OneRun:
    """Which path of the grid is shown by itself, and the job that makes it with x_t's pictures."""

    def __init__(self, engine: Callable[[], Engine], session: str) -> None:
        self._engine, self._session = engine, session
        self._picked: tuple[View, Path] | None = None
        self._asked: tuple[tuple[RunSpec, Path], Job] | None = None
        self.exact: Job | None = None  # what decodes its x̂0 exactly, where that was asked for

    def pick(self, view: View, path: Path) -> None:
        """Show this path of the view's grid; the grid stays as it is."""
        self._picked = view, path

    def picked(self, view: View, grid: Grid) -> Path:
        """The path that is shown: the last one picked, or else the grid's own."""
        if self._picked and self._picked[0] == view and self._picked[1] in grid.paths:
            return self._picked[1]
        return grid.path

    def ask(self, spec: RunSpec, path: Path) -> Job:
        """The job for it, the one under way where it is the same.

        Raises:
            DiffgridError: it cannot be started.
        """
        asked = self._asked  # which may be put aside meanwhile
        if asked and asked[0] == (spec, path):
            return asked[1]
        self.put_aside()  # first: of too many requests of one visitor the grid's would go
        limits = Limits.from_environment()
        job = self._engine().submit(spec, [path], session=self._session, noisy=True, limits=limits)
        self._asked = (spec, path), job
        return job

    def decode(self, spec: RunSpec, path: Path) -> None:
        """Have x̂0 decoded by the full VAE: a job of its own, `exact`.

        Raises:
            DiffgridError: it cannot be started.
        """
        limits = Limits.from_environment()
        self.exact = self._engine().submit(
            spec, [path], session=self._session, trust=True, exact=True, limits=limits
        )

    def put_aside(self) -> None:
        """Cancel its jobs."""
        exact, self.exact = self.exact, None
        asked, self._asked = self._asked, None
        if exact:
            exact.cancel()
        if asked:
            asked[1].cancel()
