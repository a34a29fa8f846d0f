"""What of a view is sampled unasked, and what is only offered."""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from diffgrid.engine.protocol import Engine, Estimate, Job
from diffgrid.errors import BadInput
from diffgrid.limits import Limits
from diffgrid.models.folder import BUNDLED
from diffgrid.sharing.view import View
from diffgrid.spec.path import minimum
from diffgrid.spec.run import key

# Seconds. A change of the form that takes longer is sampled only when somebody says so, unless it
# is no larger than the first grid: a change of the prompt alone never has to ask with a bundled
# model. Whoever opens an address waits longer for what it leads to.
PATIENCE = 5.0
PATIENCE_FOR_A_LINK = 60.0
LARGEST_UNASKED = 300  # evaluations of a bundled model; the first grid takes 249
FEW = 60  # evaluations, to begin with where nothing was timed yet


@dataclass(frozen=True)
class Offer:
    """A view that takes long, not yet sampled, and what it would take."""

    view: View
    evaluations: int
    seconds: float | None  # None where nothing was timed yet

    @property
    def smaller(self) -> View | None:
        """The view with fewer steps and cells, as large as takes no patience."""
        rate = self.seconds / max(1, self.evaluations) if self.seconds else PATIENCE / FEW
        shapes = [(4, 4), (3, 3), (2, 3), (2, 2), (1, 2)]
        for steps in sorted({min(self.view.steps, n) for n in (50, 25, 12, 4)}, reverse=True):
            for rows, columns in shapes:
                view = self.view.with_options(steps=steps).with_shape(rows, columns)
                with suppress(BadInput):  # a scheduler that cannot take so few
                    if minimum(view.grid().paths, view.loop.length) * rate < PATIENCE:
                        return view
        return None


class Request:
    """What one session asks of the engine."""

    def __init__(self, engine: Callable[[], Engine], session: str) -> None:
        self._engine, self._session = engine, session
        self.offer: Offer | None = None  # what was asked for last, where it takes long
        self.keys: set[str] = set()  # of all that was asked for

    def ask(self, view: View, patience: float = math.inf, *, noisy: bool = False) -> Job | None:
        """Have a view made; where that takes longer than `patience` seconds, offer it.

        Raises:
            DiffgridError: it cannot be.
        """
        self.offer = None
        grid, engine = view.grid(), self._engine()
        estimate = engine.estimate(grid.spec, grid.paths)
        # Counted by the first grid's size, and its model.
        other = view.height or view.width or view.model not in BUNDLED
        large = other or estimate.evaluations > LARGEST_UNASKED
        if large and estimate.evaluations and _seconds(estimate) > patience:
            self.offer = Offer(view, estimate.evaluations, estimate.seconds)
            return None
        self.keys |= {key(grid.spec, path) for path in grid.paths}
        return engine.submit(
            grid.spec,
            grid.paths,
            session=self._session,
            noisy=noisy,
            limits=Limits.from_environment(),
            trust=True,  # pictures are shown at once; arrays are checked when they are used
        )

    def ahead(self, view: View) -> None:
        """Have a view made while nobody waits, unless that takes patience.

        Raises:
            DiffgridError: it cannot be.
        """
        grid, engine = view.grid(), self._engine()
        estimate = engine.estimate(grid.spec, grid.paths)
        if not estimate.evaluations or _seconds(estimate) <= PATIENCE:
            engine.ahead(grid.spec, grid.paths, self._session)


def _seconds(estimate: Estimate) -> float:
    """What it takes; without end where nothing was timed yet."""
    return math.inf if estimate.seconds is None else estimate.seconds
