"""What a probe sees in the pictures on view."""

import logging
from collections.abc import Callable, Mapping

from diffgrid.decisions.study import GridStudy, Study, begin_study
from diffgrid.engine.protocol import Engine
from diffgrid.errors import Busy, DiffgridError
from diffgrid.limits import Limits
from diffgrid.spec.grid import Grid
from diffgrid.spec.path import Path

log = logging.getLogger(__name__)


class Labels:
    """The study of one grid that is done."""

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine
        # To begin a study may take torch, which the browser's first paint is not to wait for.
        self.may_begin = False
        self._study: Study | None = None
        self._found: Mapping[Path, Mapping[str, str]] | None = None

    def look(self, grid: Grid) -> Mapping[Path, Mapping[str, str]] | None:
        """Factor -> value, of each path; empty where it fails, None while they are to come."""
        if self._found is None:
            try:
                self._found = self._look(grid)
            except Busy:  # the page asks again
                return None
            except DiffgridError as error:
                log.info("the grid has no labels: %s", error)
                self._found = {}
        return self._found

    def put_off(self) -> None:
        """Another grid is on view, or none."""
        study, self._study, self._found = self._study, None, None
        if study:
            study.cancel()

    def _look(self, grid: Grid) -> Mapping[Path, Mapping[str, str]] | None:
        limits, begin = Limits.from_environment(), self.may_begin
        plan = GridStudy(grid, include_focus=True)
        study = self._study or begin_study(self._engine(), plan, limits=limits, begin=begin)
        self._study = study if begin else None
        if not study.snapshot.ended:
            return None
        if study.snapshot.error:
            raise study.snapshot.error
        return {path: found.labels for _, path, found in study.findings(1)}
