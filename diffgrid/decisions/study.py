"""A study: fixed seeds, each branched at the same steps, and what a probe sees in every final.

It asks when what is decided: branches that left x_k by other noise agree on what was settled by
then (Biroli et al., arXiv 2402.18491; Sclocchi et al., arXiv 2402.16991). The seeds are 0 … n-1,
never trunks that somebody liked. Only labels and finished pictures are kept, so a tree is cheap;
what the cache holds of a tree is used.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffgrid.engine.decode import decode_finals
from diffgrid.engine.look_up import newest
from diffgrid.engine.progress import Progress, Watched
from diffgrid.engine.protocol import Engine, Models, WorkSnapshot
from diffgrid.engine.request import family, steps_to_go
from diffgrid.engine.sample import as_array, not_finite, photo_of, prepare
from diffgrid.errors import BadInput, Cancelled, Damaged, DiffgridError
from diffgrid.limits import Limits
from diffgrid.models.registry import find_model
from diffgrid.records.frames import decode, encode_final
from diffgrid.records.trajectories import Trajectory
from diffgrid.spec.checks import check_whole
from diffgrid.spec.grid import Grid, rows_near
from diffgrid.spec.path import Fork, Path, minimum
from diffgrid.spec.run import RunSpec, key
from diffgrid.spec.schedulers import Loop
from diffgrid.store.forgiving import TrajectoryStore
from diffgrid.store.pictures import stored_frames

FIRST_LOOK = 4  # trees; results are looked at then, and at each doubling
DECODED_TOGETHER = 32

TimestepTable = tuple[tuple[float, float], ...]  # timestep and ᾱ before each step


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
        check_whole("trunks", self.trunks, 1, limits.max_trunks)
        Grid.with_columns(self.spec, (), self.rows, self.columns).check(limits)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The trajectories of each tree, the trunk first.

        One transition redrawn would be less of the remaining noise the more steps there are. So the
        branches of a scheduler that draws none are stochastic to their end.
        """
        kernel = not self.spec.draws_noise
        cells = product(self.rows, range(self.columns))
        return ((), *((Fork(*cell, stochastic=kernel),) for cell in cells))

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
class GridStudy:
    """The cells of one grid, as a study of a trunk that somebody chose: it does not count itself.

    Nor does what a cell shows in place of the focus, where that was clicked; but `include_focus`
    takes in all that is on view.
    """

    grid: Grid
    include_focus: bool = False
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
        """Its branches, or all its trajectories."""
        if self.include_focus:
            return self.grid.paths
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


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe saw in one finished picture, and saw when it looked again."""

    labels: Mapping[str, str]  # factor -> value
    again: Mapping[str, str]  # of the picture moved by a pixel
    picture: bytes  # PNG
    forced_noise: bool = False  # a branch whose scheduler draws no noise: the η-kernel drew it
    levels: TimestepTable | None = None

    def to_payload(self) -> tuple[dict[str, Any], bytes]:
        """A JSON-ready header, and the picture."""
        header = {
            "labels": dict(self.labels),
            "again": dict(self.again),
            "kicked": self.forced_noise,  # as it was called when the first was stored
        }
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
                forced_noise = header.get("kicked") is True
                return cls(labels, again, bytes(payload), forced_noise, levels or None)
        raise Damaged("what a probe saw is damaged: label the picture again.")


@dataclass(frozen=True)
class StudySnapshot(WorkSnapshot):
    """A study at one moment."""

    trees: int = 0  # that are whole
    trunks: int = 0  # of so many


def study_rows(loop: Loop) -> tuple[int, ...]:
    """The fork steps of a study where nobody chose them: early ones close together."""
    shares = (0.0, 0.06, 0.12, 0.18, 0.24, 0.32, 0.4, 0.52, 0.68)
    return rows_near(loop, [round(loop.length * share) for share in shares])


def begin_study(
    engine: Engine,
    plan: Plan | GridStudy,
    *,
    limits: Limits | None = None,
    begin: bool = True,
    session: str = "",
) -> "Study":
    """Carry a study out while nobody else waits. One whose trees are all there is done at once.

    Any other stays as it is, unless `begin`; a session that is named has to have the evaluations.

    Raises:
        BadInput: it is above limits.
        Busy: as many studies wait as `limits` allows computations, or the session has not so many
            evaluations left.
    """
    limits = limits or Limits()
    plan.check(limits)
    study = Study(engine.store, plan)
    if begin and not study.ended:
        cost = study.snapshot.to_sample if session else 0
        engine.background(study, limits, session, cost)
    return study


class Study(Watched[StudySnapshot]):
    """A plan being carried out, tree by tree: a `Work` for an engine."""

    def __init__(self, store: TrajectoryStore, plan: Plan | GridStudy) -> None:
        self.plan, self.probe = plan, find_model(plan.spec.model).probe
        self._store = store
        self._left = [spec for spec in plan.trees if not self._whole(spec)]
        self._whole_before = plan.trunks - len(self._left)
        first = StudySnapshot(
            state="queued" if self._left else "done",
            trees=self._whole_before,
            trunks=plan.trunks,
            to_sample=minimum(plan.paths, plan.spec.length) * len(self._left),
            minimum=plan.minimum,
            seconds_left=None if self._left else 0.0,
        )
        self.progress = Progress(first, store)

    def cancel(self) -> None:
        """Ask for it no longer: it stops after the current evaluation; whole trees are kept."""
        self.progress.stop()
        if not self.ended:
            self.progress.publish(state="cancelled", error=_cancelled())

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is over, at most `timeout` seconds; whether it is."""
        return self.progress.wait(timeout)

    def run(self, models: Models, interrupted: Callable[[], bool]) -> None:
        """Sample one more tree, unless `interrupted` comes true: then it is begun again later."""
        began, sampled = time.monotonic(), self.snapshot.sampled
        with self.progress.told("the study"):
            if self.progress.stopping:
                raise _cancelled()
            state = "loading" if self.snapshot.state == "queued" else "sampling"
            self.progress.publish(state=state)
            try:
                self._grow(self._left[0], models, interrupted)
                self._left.pop(0)
            except _Interrupted:
                self.progress.publish(sampled=sampled)
        seconds = self.snapshot.seconds + time.monotonic() - began
        trees = self.plan.trunks - len(self._left)
        done = trees - self._whole_before
        left = seconds / done * len(self._left) if done else None
        self.progress.publish(seconds=seconds, trees=trees, seconds_left=left)
        if not self._left:
            self.progress.publish(state="done")

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
        from diffgrid.sampling.classifiers import looked_at_again
        from diffgrid.sampling.decoding import Decoder

        keys = {path: key(spec, path) for path in family(missing)}
        known = dict(newest(self._store, keys, {}))
        pictures = {
            path: np.asarray(decode(frames.final))
            for path in missing
            if path in known and (frames := stored_frames(self._store, keys[path]))
        }
        photo = photo_of(spec, self._store)
        pipe, labels = models.pipeline(spec), models.classifier(spec)
        self.progress.publish(state="sampling")
        made = self._sample(pipe, spec, photo, missing, known, interrupted)
        finals = {path: made.finals[path] for path in missing if path not in pictures}
        decoded = decode_finals(Decoder(pipe), list(finals.values()), DECODED_TOGETHER)
        pictures |= zip(finals, decoded, strict=True)
        stack = np.stack([pictures[path] for path in missing])
        seen, again = labels.label(stack), labels.label(looked_at_again(stack))
        for path, picture, one, other in zip(missing, stack, seen, again, strict=True):
            forced_noise = path in made.forced_noise
            finding = Finding(one, other, encode_final(picture), forced_noise, made.levels)
            self._store.add_labels(keys[path], self.probe, *finding.to_payload())

    def _sample(
        self,
        pipe: Any,
        spec: RunSpec,
        photo: Image.Image | None,
        wanted: list[Path],
        known: Mapping[Path, Trajectory],
        interrupted: Callable[[], bool],
    ) -> "_Made":
        """Sample these paths to their ends; what is known is replayed."""
        lengths = steps_to_go(wanted, spec.length)
        schedule, waves = prepare(pipe, spec, lengths, known, photo=photo)
        noise = zip(schedule.alphas.tolist(), schedule.sigmas.tolist(), strict=True)
        bars = [alpha**2 / (alpha**2 + sigma**2) for alpha, sigma in noise]
        made = _Made(tuple(zip(schedule.timesteps.tolist(), bars, strict=False)))
        sampled = self.snapshot.sampled
        for wave in waves:
            for step in wave:
                sampled += step.evaluated
                if not step.finite:
                    raise not_finite(spec, step.step, f"in the tree of seed {spec.seed}")
                made.forced_noise |= {step.path} if step.forced_noise else set()
                if step.step == spec.length - 1 and step.path in wanted:
                    made.finals[step.path] = as_array(step.next_latents)
            self.progress.publish(sampled=sampled)
            if self.progress.stopping:
                raise _cancelled()
            if interrupted():
                raise _Interrupted
        return made


@dataclass
class _Made:
    levels: TimestepTable
    finals: dict[Path, NDArray[np.float32]] = field(default_factory=dict)  # latents (C, h, w)
    forced_noise: set[Path] = field(default_factory=set)


class _Interrupted(Exception):
    """Somebody waits for the worker."""


def _cancelled() -> Cancelled:
    return Cancelled("the study was cancelled; what was computed is kept.")
