"""A study: fixed seeds, each branched at the same steps, and what a probe sees in every final.

It asks when what is decided: branches that left x_k by other noise agree on what was settled by
then (Biroli et al., arXiv 2402.18491; Sclocchi et al., arXiv 2402.16991). The seeds are 0 … n-1,
never trunks that somebody liked. Only labels and finished pictures are kept, so a tree is cheap; what the
cache holds of a tree is used.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from diffgrid.computation import steps_to_go, stored_frames
from diffgrid.errors import BadInput, Cancelled, DiffgridError
from diffgrid.frames import decode, encode_final
from diffgrid.limits import Limits
from diffgrid.spec import Fork, Grid, Path, RunSpec, key, minimum
from diffgrid.store import TrajectoryStore
from diffgrid.trajectories import Trajectory

FIRST_LOOK = 4  # trees; results are looked at then, and at each doubling
DECODED_TOGETHER = 32

State = Literal["queued", "loading", "sampling", "done", "failed", "cancelled"]
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
        self.check(Limits())
        if not self.rows:
            raise BadInput("rows are missing: give at least one step, such as 5.")
        if self.columns < 2:
            raise BadInput(
                f"columns {self.columns} is not allowed in a study: use 2 or more, for pairs."
            )
        Grid.with_columns(self.spec, (), self.rows, self.columns)  # refuses what cannot be

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
class Finding:
    """What a probe saw in one finished picture, and saw when it looked again."""

    labels: Mapping[str, str]  # factor -> value
    again: Mapping[str, str]  # of the picture moved by a pixel
    picture: bytes  # PNG

    def to_payload(self) -> tuple[dict[str, Any], bytes]:
        """A JSON-ready header, and the picture."""
        return {"labels": dict(self.labels), "again": dict(self.again)}, self.picture

    @classmethod
    def from_payload(cls, header: Mapping[str, Any], payload: bytes | memoryview) -> "Finding":
        """Take back what `to_payload` gave.

        Raises:
            BadInput: the header is another one's.
        """
        match header:
            case {"labels": dict(labels), "again": dict(again)} if labels.keys() == again.keys():
                return cls(labels, again, bytes(payload))
        raise BadInput("what a probe saw is damaged: label the picture again.")


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


class Study:
    """A plan being carried out, tree by tree, by whichever thread calls `advance`."""

    def __init__(
        self,
        store: TrajectoryStore,
        plan: Plan,
        probe: str,
        pipeline: Callable[[RunSpec], Any],
        labels: Callable[[RunSpec], Any],
    ) -> None:
        self.plan, self.probe = plan, probe
        self._store, self._pipeline, self._labels = store, pipeline, labels
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

    def advance(self, interrupted: Callable[[], bool]) -> None:
        """Sample one more tree, unless `interrupted` comes true: then it is begun again later."""
        began, sampled = time.monotonic(), self.snapshot.sampled
        try:
            if self._left and not self._stopping.is_set():
                self._publish(state="loading" if self.snapshot.state == "queued" else "sampling")
                self._grow(self._left[0], interrupted)
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
            return Finding.from_payload(*stored) if stored else None
        except BadInput:
            return None

    def _whole(self, spec: RunSpec) -> bool:
        return all(self._finding(spec, path) for path in self.plan.paths)

    def _grow(self, spec: RunSpec, interrupted: Callable[[], bool]) -> None:
        """Make what is missing of one tree."""
        missing = [path for path in self.plan.paths if self._finding(spec, path) is None]
        if not missing:
            return  # another study made it meanwhile
        known = {path: run for path in missing if (run := self._store.get(key(spec, path)))}
        pictures = {
            path: np.asarray(decode(frames.final))
            for path in known
            if (frames := stored_frames(self._store, key(spec, path)))
        }
        if () not in known and (trunk := self._store.get(key(spec, ()))):
            known[()] = trunk  # every branch begins with it
        pipe, labels = self._pipeline(spec), self._labels(spec)
        self._publish(state="sampling")
        wanted = [path for path in missing if path not in known]
        finals = {p: known[p].latents[-1] for p in missing if p in known and p not in pictures}
        finals |= self._sample(pipe, spec, wanted, known, interrupted)
        pictures |= _pictures(pipe, finals)
        stack = np.stack([pictures[path] for path in missing])
        from diffgrid.torch_side.probes import looked_at_again

        seen, again = labels.label(stack), labels.label(looked_at_again(stack))
        for path, picture, one, other in zip(missing, stack, seen, again, strict=True):
            finding = Finding(one, other, encode_final(picture))
            self._store.add_labels(key(spec, path), self.probe, *finding.to_payload())

    def _sample(
        self,
        pipe: Any,
        spec: RunSpec,
        wanted: list[Path],
        known: Mapping[Path, Trajectory],
        interrupted: Callable[[], bool],
    ) -> dict[Path, NDArray[np.float32]]:
        """The final latents (C, h, w) of these paths."""
        if not wanted:
            return {}
        from diffgrid.torch_side import models, preparation, sampler

        prepared = preparation.prepare(pipe, spec, models.build_scheduler(spec))
        lengths = steps_to_go(wanted, spec.length)
        finals: dict[Path, NDArray[np.float32]] = {}
        sampled = self.snapshot.sampled
        for wave in sampler.sample(prepared, spec, lengths, known):
            for step in wave:
                sampled += step.evaluated
                if step.step == spec.length - 1 and step.path in wanted:
                    finals[step.path] = step.next_latents[0].float().cpu().numpy()
            self._publish(sampled=sampled)
            if self._stopping.is_set():
                raise Cancelled("the study was cancelled; what was computed is kept.")
            if interrupted():
                raise _Interrupted
        return finals

    def _publish(self, **changes: Any) -> None:
        if self.snapshot.ended:
            changes = {name: value for name, value in changes.items() if name != "state"}
        changes.setdefault("warning", self._store.warning)
        with self._change:
            self.snapshot = replace(self.snapshot, **changes)
            self._change.notify_all()


class _Interrupted(Exception):
    """Somebody waits for the worker."""


def _pictures(
    pipe: Any, finals: Mapping[Path, NDArray[np.float32]]
) -> dict[Path, NDArray[np.uint8]]:
    if not finals:
        return {}
    from diffgrid.torch_side import preview

    decoder, paths = preview.Decoder(pipe), list(finals)
    made: dict[Path, NDArray[np.uint8]] = {}
    for start in range(0, len(paths), DECODED_TOGETHER):
        batch = paths[start : start + DECODED_TOGETHER]
        pictures = decoder.final(np.stack([finals[path] for path in batch]))
        made |= dict(zip(batch, pictures, strict=True))
    return made
