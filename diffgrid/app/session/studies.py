"""What a session studies."""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from diffgrid.app.text import seconds, weight
from diffgrid.decisions.results import Results, results
from diffgrid.decisions.study import Plan, Study, begin_study, study_rows
from diffgrid.engine.protocol import Engine
from diffgrid.errors import BadInput, DiffgridError
from diffgrid.limits import Limits
from diffgrid.spec.run import RunSpec

TRUNKS = (4, 8, 16, 32, 64)
USUAL_TRUNKS, USUAL_COLUMNS = 16, 4
log = logging.getLogger(__name__)


class Studies:
    """One study at a time, and what every study of this session found."""

    def __init__(self, engine: Callable[[], Engine], session: str) -> None:
        self._engine, self._session = engine, session
        self.plan: Plan | None = None
        self.study: Study | None = None  # of that plan
        self.error: str | None = None  # why the last one did not begin, or could not be read
        self.found: dict[RunSpec, Results] = {}  # at the last look; by specification, seed 0
        self._recalled: set[RunSpec] = set()
        self._looked = 0  # trees, at the last look
        self._reader: threading.Thread | None = None

    def start(self, plan: Plan) -> None:
        """Carry this plan out, in place of the one under way."""
        self.close()
        self.plan, self.study, self.error, self._looked = plan, None, None, 0
        limits = Limits.from_environment()
        try:
            self.study = begin_study(self._engine(), plan, limits=limits, session=self._session)
        except DiffgridError as error:
            self.error = str(error)

    def recall(self, spec: RunSpec) -> None:
        """Take up the largest study of this specification that the cache holds whole.

        It looks once, and only for the usual rows and columns: what else was studied is not listed.
        """
        if spec in self._recalled or spec in self.found or self.running:
            return
        self._recalled.add(spec)
        limits, rows = Limits.from_environment(), study_rows(spec.loop)
        whole = None
        with suppress(DiffgridError):  # more trunks than are allowed, or a cache that fails
            for trunks in TRUNKS:
                plan = Plan(spec, trunks, rows, USUAL_COLUMNS)
                if not begin_study(self._engine(), plan, limits=limits, begin=False).ended:
                    break
                whole = plan
        if whole:
            self.start(whole)

    def close(self) -> None:
        """Stop; trees that are whole are kept."""
        if self.study:
            self.study.cancel()

    def price(self, plan: Plan) -> str:
        """What a study takes where nothing of it is there: "6,032 evaluations, about 4 min here".

        Raises:
            DiffgridError: the cache cannot be used.
        """
        # Timed by a tree that nobody has: what is stored has no rate.
        strange = replace(plan.spec, seed=Limits().max_seed)
        one = self._engine().estimate(strange, plan.paths)
        count = f"{plan.minimum:,} evaluations"
        if one.seconds is None or not one.evaluations:
            return f"{count} of {plan.spec.model} ({weight(plan.spec.model)})"
        return f"{count}, about {seconds(one.seconds / one.evaluations * plan.minimum)} here"

    @property
    def running(self) -> bool:
        """Whether there is something to wait for."""
        if self.study is None:
            return False
        return not self.study.snapshot.ended or self.reading or self._due() > self._looked

    @property
    def reading(self) -> bool:
        """Whether a look is being taken."""
        return self._reader is not None and self._reader.is_alive()

    @property
    def progress(self) -> str:
        """How far the study is: "5 of 16 trunks · … · 3 min left · next look at 8 trunks"."""
        if self.study is None:
            return ""
        snapshot = self.study.snapshot
        trees = f"{snapshot.trees} of {snapshot.trunks} trunks"
        if self.reading:
            return f"{trees} · comparing their pictures …"
        if snapshot.state == "queued":
            return "Waiting for its turn: grids go first"
        if snapshot.state == "loading":
            return "Loading the model …"
        parts = [trees, f"{snapshot.sampled:,} of {snapshot.to_sample:,} evaluations"]
        if snapshot.seconds_left:
            parts.append(f"{seconds(snapshot.seconds_left)} left")
        if self.next_look:
            parts.append(f"next look at {self.next_look} trunks")
        return " · ".join(parts)

    @property
    def next_look(self) -> int | None:
        """The number of trees at which results are looked at next."""
        trees = self.study.snapshot.trees if self.study else 0
        return next((look for look in self.plan.looks if look > trees), None) if self.plan else None

    def look(self) -> None:
        """Where the trees have doubled since the last look, take another, in the background.

        Between the looks nothing is shown: who stops when a curve pleases finds what pleases.
        """
        due = self._due()
        if self.study and due > self._looked and not self.reading:
            self._looked = due
            self._reader = threading.Thread(target=self._read, args=(self.study, due), daemon=True)
            self._reader.start()

    def _due(self) -> int:
        if self.study is None or self.plan is None:
            return 0
        trees = self.study.snapshot.trees
        return max((look for look in self.plan.looks if look <= trees), default=0)

    def _read(self, study: Study, trees: int) -> None:
        try:
            self.found[study.plan.spec] = results(study, trees, bands=True)
        except DiffgridError as error:  # so many are there, but not the first ones
            if study.snapshot.ended:
                self.error = str(error)
        except Exception:  # else nobody would be told; the log has the traceback
            log.exception("a study could not be read")
            self.error = "the study could not be read: the server's log says why."


def plan_of(spec: RunSpec, trunks: int, rows: str, columns: int) -> Plan:
    """The plan of a study; `rows` are steps, as somebody wrote them.

    Raises:
        BadInput: a row is no step that can be forked at, or a value is above this server's limit.
    """
    try:
        steps = tuple(sorted({int(step) for step in rows.replace(",", " ").split()}))
    except ValueError:
        usual = ", ".join(map(str, study_rows(spec.loop)))
        raise BadInput(
            f"rows {rows[:60]!r} are not allowed: give steps between commas, such as {usual}."
        ) from None
    plan = Plan(spec, trunks, steps, columns)
    plan.check(Limits.from_environment())
    return plan
