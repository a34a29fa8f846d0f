"""A study: fixed seeds, each branched at the same steps, and what a probe sees in every final.

It asks when what is decided: branches that left x_k by other noise agree on what was settled by
then (Biroli et al., arXiv 2402.18491; Sclocchi et al., arXiv 2402.16991). The seeds are 0 … n-1,
never trunks that somebody liked. Only labels and finished pictures are kept, so a tree is cheap;
what the cache holds of a tree is used.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffgrid.engine.job import steps_to_go, stored_frames
from diffgrid.engine.protocol import Engine, Models, State
from diffgrid.errors import BadInput, Cancelled, Damaged, DiffgridError
from diffgrid.limits import Limits
from diffgrid.models.registry import find_model
from diffgrid.records.frames import decode, encode_final
from diffgrid.records.trajectories import Trajectory
from diffgrid.spec.grid import Grid, rows_near
from diffgrid.spec.path import Fork, Path, ancestors, minimum
from diffgrid.spec.run import RunSpec, key
from diffgrid.spec.schedulers import Loop
from diffgrid.store.forgiving import TrajectoryStore

FIRST_LOOK = 4  # trees; results are looked at then, and at each doubling
DECODED_TOGETHER = 32

Levels = tuple[tuple[float, float], ...]  # timestep and ᾱ before each step
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a study samples: `trunks` seeds from 0 on, each with `columns` branches at each row.

    The specification's own seed does not count.

    Raises:
        BadInput: a number is out of range, or a row cannot be forked at.
    """

    spec: RunSpec
    trunks: int
    rows: tuple[int, ...]  # steps
    columns: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "spec", replace(self.spec, seed=0))
        if not self.rows:
            raise BadInput("rows are missing: give at least one step, such as 5.")
        if self.columns < 2:
            raise BadInput(
                f"columns {self.columns} is not allowed in a study: use 2 or more, for pairs."
            )
        self.check(Limits())

    def check(self, limits: Limits) -> None:
        """Check it against tighter limits.

        Raises:
            BadInput: a value is above its limit.
        """
        self.spec.check(limits)
        if type(self.trunks) is not int or not 1 <= self.trunks <= limits.max_trunks:
            raise BadInput(
                f"trunks {self.trunks} is not allowed: use a whole number from 1 to "
                f"{limits.max_trunks}."
            )
        Grid.with_columns(self.spec, (), self.rows, self.columns).check(limits)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The trajectories of each tree, the trunk first."""
        branches = ((Fork(step, branch),) for step in self.rows for branch in range(self.columns))
        return ((), *branches)

    @property
    def trees(self) -> list[RunSpec]:
        """The specification of each trunk."""
        return [replace(self.spec, seed=seed) for seed in range(self.trunks)]

    @property
    def minimum(self) -> int:
        """Evaluations it takes when nothing is cached."""
        return self.trunks * minimum(self.paths, self.spec.length)

    @property
    def looks(self) -> list[int]:
        """The numbers of trees at which its results may be looked at."""
        first = min(FIRST_LOOK, self.trunks)
        doublings = (first * 2**i for i in range(math.ceil(math.log2(self.trunks / first)) + 1))
        return sorted({min(look, self.trunks) for look in doublings})


@dataclass(frozen=True, slots=True)
class OneTree:
    """The cells of one grid, as a study of a trunk that somebody chose: it does not count itself.

    Nor does what a cell shows in place of the focus, where that was clicked.
    """

    grid: Grid
    trunks: int = 1

    @property
    def spec(self) -> RunSpec:
        return self.grid.spec

    @property
    def rows(self) -> tuple[int, ...]:
        return self.grid.rows

    @property
    def columns(self) -> int:
        return max(map(len, self.grid.branches), default=0)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Its branches."""
        rows = zip(self.grid.rows, self.grid.cells, strict=True)
        return tuple(path for step, row in rows for path in row if path and path[-1].step == step)

    @property
    def trees(self) -> list[RunSpec]:
        return [self.spec]

    @property
    def minimum(self) -> int:
        """Evaluations it takes when nothing is cached."""
        return minimum(self.paths, self.spec.length)

    def check(self, limits: Limits) -> None:
        """Check it against tighter limits.

        Raises:
            BadInput: a value is above its limit.
        """
        self.grid.check(limits)


class OnView(OneTree):
    """All trajectories of a grid: unlike a study, a row shows its focus and what that left too."""

    __slots__ = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        return self.grid.paths


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe saw in one finished picture, and saw when it looked again."""

    labels: Mapping[str, str]  # factor -> value
    again: Mapping[str, str]  # of the picture moved by a pixel
    picture: bytes  # PNG
    kicked: bool = False  # a branch whose scheduler draws no noise: the η-kernel drew it
    levels: Levels | None = None

    def to_payload(self) -> tuple[dict[str, Any], bytes]:
        """A JSON-ready header, and the picture."""
        header = {"labels": dict(self.labels), "again": dict(self.again), "kicked": self.kicked}
        return header | ({"levels": self.levels} if self.levels else {}), self.picture

    @classmethod
    def from_payload(cls, header: Mapping[str, Any], payload: bytes | memoryview) -> "Finding":
        """Take back what `to_payload` gave.

        Raises:
            Damaged: the header is another one's.
        """
        match header:
            case {"labels": dict(labels), "again": dict(again)} if labels.keys() == again.keys():
                levels = tuple((float(t), float(bar)) for t, bar in header.get("levels", ()))
                kicked = header.get("kicked") is True
                return cls(labels, again, bytes(payload), kicked, levels or None)
        raise Damaged("what a probe saw is damaged: label the picture again.")


@dataclass(frozen=True)
class StudySnapshot:
    """A study at one moment."""

    state: State = "queued"
    trees: int = 0  # that are whole
    trunks: int = 0  # of so many
    sampled: int = 0  # evaluations, by this study
    to_sample: int = 0
    minimum: int = 0
    seconds: float = 0.0  # of work
    seconds_left: float | None = None
    warning: str | None = None
    error: DiffgridError | None = None

    @property
    def ended(self) -> bool:
        """Whether it is over, one way or another."""
        return self.state in ("done", "failed", "cancelled")


def study_rows(loop: Loop) -> tuple[int, ...]:
    """The fork steps of a study where nobody chose them: early ones close together."""
    shares = (0.0, 0.06, 0.12, 0.18, 0.24, 0.32, 0.4, 0.52, 0.68)
    return rows_near(loop, [round(loop.length * share) for share in shares])


def begin_study(
    engine: Engine, plan: Plan | OneTree, *, limits: Limits | None = None, begin: bool = True
) -> "Study":
    """Carry a study out while nobody else waits. One whose trees are all there is done at once.

    Any other stays as it is, unless `begin`.

    Raises:
        BadInput: it is above limits.
        Busy: as many studies wait as `limits` allows computations.
    """
    limits = limits or Limits()
    plan.check(limits)
    study = Study(engine.store, plan)
    if begin and not study.ended:
        engine.background(study, limits)
    return study


class Study:
    """A plan being carried out, tree by tree: a `Work` for an engine."""

    def __init__(self, store: TrajectoryStore, plan: Plan | OneTree) -> None:
        self.plan, self.probe = plan, find_model(plan.spec.model).probe
        self._store = store
        self._stopping = threading.Event()
        self._change = threading.Condition()
        self._left = [spec for spec in plan.trees if not self._whole(spec)]
        per_tree = minimum(plan.paths, plan.spec.length)
        self.snapshot = StudySnapshot(
            state="queued" if self._left else "done",
            trees=plan.trunks - len(self._left),
            trunks=plan.trunks,
            to_sample=per_tree * len(self._left),
            minimum=plan.minimum,
            seconds_left=None if self._left else 0.0,
        )

    @property
    def ended(self) -> bool:
        """Whether it is over, one way or another."""
        return self.snapshot.ended

    def stop(self) -> None:
        """Stop after the current evaluation; trees that are whole are kept."""
        self._stopping.set()

    def cancel(self) -> None:
        """Ask for it no longer."""
        self.stop()
        if not self.snapshot.ended:
            error = Cancelled("the study was cancelled; what was computed is kept.")
            self._publish(state="cancelled", error=error)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is over, at most `timeout` seconds; whether it is."""
        with self._change:
            return self._change.wait_for(lambda: self.snapshot.ended, timeout)

    def run(self, models: Models, interrupted: Callable[[], bool]) -> None:
        """Sample one more tree, unless `interrupted` comes true: then it is begun again later."""
        began, sampled = time.monotonic(), self.snapshot.sampled
        try:
            if self._stopping.is_set():
                raise Cancelled("the study was cancelled; what was computed is kept.")
            if self._left:
                self._publish(state="loading" if self.snapshot.state == "queued" else "sampling")
                self._grow(self._left[0], models, interrupted)
                self._left.pop(0)
        except _Interrupted:
            self._publish(sampled=sampled)
        except Cancelled as error:
            self._publish(state="cancelled", error=error)
        except DiffgridError as error:
            self._publish(state="failed", error=error)
        except Exception as error:  # a worker must outlive it; the log has the traceback
            log.exception("a study failed")
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            self._publish(state="failed", error=DiffgridError(f"the study failed: {reason}"))
        finally:
            seconds = self.snapshot.seconds + time.monotonic() - began
            trees = self.plan.trunks - len(self._left)
            done = trees - (self.plan.trunks - self._trees_at_start)
            rest = seconds / done * len(self._left) if done else None
            self._publish(seconds=seconds, trees=trees, seconds_left=rest)
            if not self._left and not self.snapshot.ended:
                self._publish(state="done", seconds_left=0.0)

    def findings(self, trees: int) -> Iterator[tuple[int, Path, Finding]]:
        """Seed, path and finding of each trajectory of the first trees.

        Raises:
            DiffgridError: one is not there.
        """
        for spec in self.plan.trees[:trees]:
            for path in self.plan.paths:
                found = self._finding(spec, path)
                if found is None:
                    raise DiffgridError(
                        f"the tree of seed {spec.seed} is no longer in the cache: ask again."
                    )
                yield spec.seed, path, found

    @property
    def _trees_at_start(self) -> int:
        return self.snapshot.to_sample // minimum(self.plan.paths, self.plan.spec.length)

    def _finding(self, spec: RunSpec, path: Path) -> Finding | None:
        stored = self._store.get_labels(key(spec, path), self.probe)
        try:
            found = Finding.from_payload(*stored) if stored else None
        except Damaged:
            return None
        return None if found and not path and found.levels is None else found

    def _whole(self, spec: RunSpec) -> bool:
        return all(self._finding(spec, path) for path in self.plan.paths)

    def _grow(self, spec: RunSpec, models: Models, interrupted: Callable[[], bool]) -> None:
        """Make what is missing of one tree."""
        missing = [path for path in self.plan.paths if self._finding(spec, path) is None]
        if not missing:
            return  # another study made it meanwhile
        family = dict.fromkeys(p for path in missing for p in (*ancestors(path), path))
        # Ancestors may be there as far as their last fork only.
        names = {path: key(spec, path) for path in family}
        found = {p: self._store.get(n) or self._store.get_partial(n) for p, n in names.items()}
        known = {path: run for path, run in found.items() if run}
        pictures = {
            path: np.asarray(decode(frames.final))
            for path in missing
            if path in known and (frames := stored_frames(self._store, names[path]))
        }
        pipe, labels = models.pipeline(spec), models.classifier(spec)
        self._publish(state="sampling")
        made = self._sample(pipe, spec, missing, known, interrupted)
        finals = {path: made.finals[path] for path in missing if path not in pictures}
        pictures |= _pictures(pipe, finals)
        stack = np.stack([pictures[path] for path in missing])
        from diffgrid.sampling.classifiers import looked_at_again

        seen, again = labels.label(stack), labels.label(looked_at_again(stack))
        for path, picture, one, other in zip(missing, stack, seen, again, strict=True):
            kicked = path in made.kicked
            finding = Finding(one, other, encode_final(picture), kicked, made.levels)
            self._store.add_labels(key(spec, path), self.probe, *finding.to_payload())

    def _sample(
        self,
        pipe: Any,
        spec: RunSpec,
        wanted: list[Path],
        known: Mapping[Path, Trajectory],
        interrupted: Callable[[], bool],
    ) -> "_Made":
        """Sample these paths to their ends; what is known is replayed."""
        from diffgrid.sampling import pipelines, preparation, sampler

        prepared = preparation.prepare(pipe, spec, pipelines.build_scheduler(spec))
        timesteps = prepared.timesteps.double().tolist()
        bars = [a**2 / (a**2 + s**2) for a, s in zip(prepared.alphas, prepared.sigmas, strict=True)]
        made = _Made(tuple(zip(timesteps, bars, strict=False)))
        sampled, lengths = self.snapshot.sampled, steps_to_go(wanted, spec.length)
        changed = partial(preparation.denoiser, pipe)
        for wave in sampler.sample(prepared, spec, lengths, known, changed=changed):
            for step in wave:
                sampled += step.evaluated
                made.kicked |= {step.path} if step.forced_noise else set()
                if step.step == spec.length - 1 and step.path in wanted:
                    made.finals[step.path] = step.next_latents[0].float().cpu().numpy()
            self._publish(sampled=sampled)
            if self._stopping.is_set():
                raise Cancelled("the study was cancelled; what was computed is kept.")
            if interrupted():
                raise _Interrupted
        return made

    def _publish(self, **changes: Any) -> None:
        changes.setdefault("warning", self._store.warning)
        with self._change:
            if self.snapshot.ended:
                changes.pop("state", None)
            self.snapshot = replace(self.snapshot, **changes)
            self._change.notify_all()


@dataclass
class _Made:
    levels: Levels
    finals: dict[Path, NDArray[np.float32]] = field(default_factory=dict)  # latents (C, h, w)
    kicked: set[Path] = field(default_factory=set)


class _Interrupted(Exception):
    """Somebody waits for the worker."""


def _pictures(
    pipe: Any, finals: Mapping[Path, NDArray[np.float32]]
) -> dict[Path, NDArray[np.uint8]]:
    if not finals:
        return {}
    from diffgrid.sampling import decoding

    decoder, paths = decoding.Decoder(pipe), list(finals)
    made: dict[Path, NDArray[np.uint8]] = {}
    for start in range(0, len(paths), DECODED_TOGETHER):
        batch = paths[start : start + DECODED_TOGETHER]
        pictures = decoder.final(np.stack([finals[path] for path in batch]))
        made |= dict(zip(batch, pictures, strict=True))
    return made
