"""What the store holds of what a job was asked for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from diffgrid.engine.builder import FrameBook
from diffgrid.engine.progress import JobProgress
from diffgrid.engine.request import Request, family
from diffgrid.records.frames import Frames
from diffgrid.records.trajectories import Trajectory
from diffgrid.spec.path import Path
from diffgrid.store.forgiving import TrajectoryStore
from diffgrid.store.pictures import exact_frames, stored_exact, stored_frames, stored_noisy


@dataclass(frozen=True)
class Found:
    """What is stored, of the paths asked for and of their ancestors."""

    history: dict[Path, Trajectory] = field(default_factory=dict)  # checkpoints included
    frames: dict[Path, Frames] = field(default_factory=dict)  # of what is finished
    noisy: FrameBook = field(default_factory=FrameBook)
    exact: FrameBook = field(default_factory=FrameBook)
    # Not finished, or without pictures of x̂0, or with such as are to be drawn anew.
    missing: list[Path] = field(default_factory=list)
    blind: list[Path] = field(default_factory=list)  # without the pictures of x_t asked for too
    rough: list[Path] = field(default_factory=list)  # without the exact pictures asked for too

    @property
    def whole(self) -> bool:
        """Whether nothing is to be made."""
        return not (self.missing or self.blind or self.rough)

    @property
    def unfinished(self) -> list[Path]:
        """What has to be sampled; the rest of what is missing lacks its pictures alone."""
        known = self.history
        return [path for path in self.missing if path not in known or not known[path].done]


def look_up(request: Request, store: TrajectoryStore, progress: JobProgress) -> Found:
    """Find what is stored; what is whole is thereby finished."""
    progress.start_over()
    found, keys = Found(), request.keys
    for path in request.paths if request.noisy else ():
        if pictures := stored_noisy(store, keys[path], request.spec.length):
            found.noisy.put_all(path, pictures)
            progress.noisy[path] = pictures
        else:
            found.blind.append(path)
    for path in request.paths:
        frames = stored_frames(store, keys[path])
        trusted = request.trust and path not in found.blind
        if frames and not trusted and (known := store.get(keys[path])):
            found.history[path] = known
        if frames and (store.has(keys[path]) if trusted else path in found.history):
            found.frames[path] = frames
            progress.finish(path, found.history.get(path), frames)
        if frames is None or path not in found.frames or frames.decoding.outdated:
            found.missing.append(path)
    missing = {path: keys[path] for path in family(found.missing)}
    for path, known in newest(store, missing, found.history):
        found.history[path] = known
        if known.done and path not in found.frames and (frames := stored_frames(store, keys[path])):
            found.frames[path] = frames
    if request.exact:
        _look_up_exact(request, store, progress, found)
    return found


def _look_up_exact(
    request: Request, store: TrajectoryStore, progress: JobProgress, found: Found
) -> None:
    for path in family(request.paths):
        exact = stored_exact(store, request.keys[path], request.spec.length)
        for step, picture in exact.items():
            found.exact.put(path, step, picture)
        if path not in request.paths:
            continue
        frames = found.frames.get(path)
        if path in found.missing or frames is None:
            found.rough.append(path)
        elif whole := exact_frames(frames, exact):
            progress.finish(path, found.history.get(path), whole)
        elif frames.decoding.approximate:
            found.rough.append(path)


def newest(
    store: TrajectoryStore, keys: Mapping[Path, str], read: Mapping[Path, Trajectory]
) -> Iterator[tuple[Path, Trajectory]]:
    """What is known of these paths, an ancestor maybe as far as its last fork only."""
    for path, key in keys.items():
        if known := read.get(path) or store.get(key) or store.get_partial(key):
            yield path, known
