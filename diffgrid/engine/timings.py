"""How long evaluations take, by what this process's last jobs took."""

from diffgrid.models.folder import BUNDLED
from diffgrid.models.registry import find_model
from diffgrid.spec.run import RunSpec

# Seconds that an evaluation of a bundled model takes, pictures included, on two cores.
FIRST_GUESS = 0.02
GUESSED = 100.0  # evaluations that the first guess counts as
FEWEST_TIMED = 10  # evaluations; the first of a job are slower than the rest

_Kind = tuple[str, int, int, str, bool]


class Timings:
    """Seconds and evaluations of each kind of job, older ones counting ever less."""

    def __init__(self) -> None:
        self._timed: dict[_Kind, tuple[float, float]] = {}

    def add(self, spec: RunSpec, evaluations: int, seconds: float) -> None:
        """A job made so many evaluations in so many seconds, with their pictures."""
        if evaluations >= FEWEST_TIMED:
            # By the count: a lone trunk costs more an evaluation than a grid.
            before, timed = self._timed.get(_kind(spec)) or _guess(spec)
            self._timed[_kind(spec)] = (before / 2 + seconds, timed / 2 + evaluations)

    def seconds(self, spec: RunSpec, evaluations: int) -> float | None:
        """What so many would take; None for a foreign model of which none were timed."""
        seconds, timed = self._timed.get(_kind(spec)) or _guess(spec)
        return seconds / timed * evaluations if timed else None


def _kind(spec: RunSpec) -> _Kind:
    """What decides how long an evaluation takes; a guided one runs the model twice."""
    return spec.digest, spec.height, spec.width, spec.dtype, spec.guidance_scale > 1


def _guess(spec: RunSpec) -> tuple[float, float]:
    """Seconds and evaluations before anything was timed; nothing for a foreign model."""
    if spec.model not in BUNDLED:
        return 0.0, 0.0
    areas = spec.height * spec.width / find_model(spec.model).side ** 2
    return FIRST_GUESS * areas * GUESSED, GUESSED
