"""How far a job is, on a terminal."""

import sys

from tqdm import tqdm

from diffgrid.decisions.study import StudySnapshot
from diffgrid.engine.protocol import Snapshot


class Progress:
    """A bar on stderr when that is a terminal; warnings always."""

    def __init__(self) -> None:
        self._bar = tqdm(disable=not sys.stderr.isatty(), unit="evaluation", leave=False)
        self._warned: str | None = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, snapshot: Snapshot | StudySnapshot) -> None:
        done, total, unit = snapshot.sampled, snapshot.to_sample, "evaluation"
        if isinstance(snapshot, Snapshot) and snapshot.state == "decoding":
            done, total, unit = snapshot.decoded, snapshot.to_decode, "picture"
        self._bar.total, self._bar.unit = total, unit
        self._bar.set_description(snapshot.state, refresh=False)
        self._bar.update(done - self._bar.n)
        if snapshot.warning and snapshot.warning != self._warned:
            self._warned = snapshot.warning
            tqdm.write(f"diffgrid: {snapshot.warning}", file=sys.stderr)
