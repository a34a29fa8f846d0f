"""The trajectories bundled with the package: to look at, play and fork with no model loaded.

They have one specification and begin together, so each is kept from its last fork on; what comes
before is its parent's. A folder holds

    index.json            the specification, the decoder of the pictures, and by KEY the path and
                          the lengths (bytes) of its own pictures
    arrays.safetensors    timesteps (T,), alphas and sigmas (T+1,), float64; for each PATH
                          `latents PATH`, `model_outputs PATH` (packed) and `frames PATH` (x̂0
                          pictures and the finished one, end to end), as bytes
    labels.json           what a probe saw in the finished pictures: its digest, and by KEY the
                          header of a `study.Finding`

and is opened when something is first looked for in it.
"""

import json
import logging
import math
import shutil
import zlib
from collections.abc import Iterable, Mapping, Set
from functools import cached_property, lru_cache
from pathlib import Path as Folder
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from diffgrid.records.frames import Frames
from diffgrid.records.trajectories import Trajectory
from diffgrid.spec.path import Path, format_path, parse_path
from diffgrid.spec.run import RunSpec

FIRST_GRID = Folder(__file__).parents[1] / "assets" / "first_grid"

_INDEX, _ARRAYS, LABELS = "index.json", "arrays.safetensors", "labels.json"
_LEVELS = ("timesteps", "alphas", "sigmas")
_FLOAT32 = np.dtype("<f4")
log = logging.getLogger(__name__)


class Bundled:
    """The trajectories in a folder that `write` made; none where it is None, missing or cut."""

    def __init__(self, folder: Folder | None = FIRST_GRID) -> None:
        self.folder = folder
        # A look-up reads a parent for each of its branches: the last ones are kept, in some 3 MB.
        self._whole = lru_cache(maxsize=8)(self._read)

    @property
    def keys(self) -> Set[str]:
        """The keys of all its trajectories."""
        entries: dict[str, Any] = self._index["trajectories"]
        return entries.keys()

    @property
    def decoder(self) -> str:
        """The digest of what drew its pictures, as in `Runs.get_frames`."""
        return str(self._index["decoder"])

    @property
    def runs(self) -> list[tuple[str, RunSpec, Path, int]]:
        """Key, specification, path and the bytes of its arrays, of each; the trunk first."""
        if not self.keys:
            return []
        size = (2 * self._spec.length + 1) * math.prod(self._index["shape"]) * _FLOAT32.itemsize
        paths = {key: parse_path(e["path"]) for key, e in self._index["trajectories"].items()}
        steps = {key: [(fork.step, fork.branch) for fork in path] for key, path in paths.items()}
        nearest = sorted(paths, key=lambda key: (len(steps[key]), steps[key]))
        return [(key, self._spec, paths[key], size) for key in nearest]

    def has(self, key: str) -> bool:
        """Whether a trajectory is among them."""
        return key in self.keys

    def get(self, key: str) -> Trajectory | None:
        """The finished trajectory, if it is among them."""
        if key not in self.keys:
            return None
        path = parse_path(self._index["trajectories"][key]["path"])
        return Trajectory(
            spec=self._spec,
            path=path,
            latents=self._whole("latents", path),
            model_outputs=self._whole("model_outputs", path),
            prediction_type=self._index["prediction_type"],
            **{name: self._arrays.get_tensor(name) for name in _LEVELS},
        )

    def get_frames(self, key: str, digest: str) -> tuple[dict[str, Any], memoryview] | None:
        """Header and payload of its pictures, as `Frames.to_payload` makes them."""
        if key not in self.keys or digest != self.decoder:
            return None
        path = parse_path(self._index["trajectories"][key]["path"])
        header, payload = self._frames(path).to_payload()
        return header, memoryview(payload)

    def get_labels(self, key: str, probe: str) -> tuple[dict[str, Any], memoryview] | None:
        """Header and picture of what this probe saw, as `Finding.to_payload` makes them."""
        if key not in self.keys or self._seen["probe"] != probe or key not in self._seen["seen"]:
            return None
        path = parse_path(self._index["trajectories"][key]["path"])
        return self._seen["seen"][key], memoryview(self._frames(path).final)

    @cached_property
    def _seen(self) -> dict[str, Any]:
        assert self.folder  # or nothing was found before
        try:
            match json.loads((self.folder / LABELS).read_bytes()):
                case {"probe": str(), "seen": dict()} as seen:
                    return dict(seen)
            raise ValueError(f"{LABELS} is another kind of file")
        except (OSError, ValueError) as error:
            log.warning("the bundled labels cannot be read: %s", error)
            return {"probe": None, "seen": {}}

    @cached_property
    def _files(self) -> tuple[dict[str, Any], Any]:
        try:
            if self.folder:
                index = json.loads((self.folder / _INDEX).read_bytes())
                return index, safe_open(self.folder / _ARRAYS, framework="numpy")
        except (OSError, ValueError, SafetensorError) as error:
            # All of them can be sampled: nothing is lost but time.
            log.warning("the bundled grid cannot be read: %s", error)
        return {"trajectories": {}, "decoder": ""}, None

    @property
    def _index(self) -> dict[str, Any]:
        return self._files[0]

    @property
    def _arrays(self) -> Any:
        return self._files[1]

    @cached_property
    def _spec(self) -> RunSpec:
        return RunSpec.from_dict(self._index["specification"])

    @cached_property
    def _lengths(self) -> dict[str, list[int]]:
        return {entry["path"]: entry["frames"] for entry in self._index["trajectories"].values()}

    def _own(self, kind: str, path: Path) -> bytes:
        own: NDArray[np.uint8] = self._arrays.get_tensor(f"{kind} {format_path(path)}")
        return own.tobytes()

    def _read(self, kind: str, path: Path) -> NDArray[np.float32]:
        """The latents (T+1, C, H, W) or model outputs (T, C, H, W) of a path."""
        own = unpack_floats(self._own(kind, path)).reshape(-1, *self._index["shape"])
        if not path:
            return own
        parent = self._whole(kind, path[:-1])
        return np.concatenate([parent[: len(parent) - len(own)], own])

    def _frames(self, path: Path) -> Frames:
        *x0, final = _split(self._own("frames", path), self._lengths[format_path(path)])
        if path:
            parent = self._frames(path[:-1]).x0
            x0 = [*parent[: len(parent) - len(x0)], *x0]
        return Frames(tuple(x0), final)


def write(folder: Folder, made: Iterable[tuple[Trajectory, Frames]], decoder: str) -> None:
    """Make the folder anew: finished trajectories of one specification, their parents among them.

    `decoder` is the digest of what drew the pictures.
    """
    arrays: dict[str, NDArray[Any]] = {}
    index: dict[str, Any] = {"decoder": decoder, "trajectories": {}}
    for trajectory, frames in made:
        path = format_path(trajectory.path)
        # x_t and model output at the fork itself are the parent's still.
        born = trajectory.path[-1].step + 1 if trajectory.path else 0
        pictures = [*frames.x0[born:], frames.final]
        own = {
            f"latents {path}": pack_floats(trajectory.latents[born:]),
            f"model_outputs {path}": pack_floats(trajectory.model_outputs[born:]),
            f"frames {path}": b"".join(pictures),
        }
        arrays |= {name: np.frombuffer(content, np.uint8) for name, content in own.items()}
        arrays |= {name: getattr(trajectory, name) for name in _LEVELS}
        index["trajectories"][trajectory.key] = {"path": path, "frames": list(map(len, pictures))}
        index |= {
            "specification": trajectory.spec.to_dict(),
            "prediction_type": trajectory.prediction_type,
            "shape": trajectory.model_outputs.shape[1:],
        }
    # Not written over: a process that has the old files open may go on reading them.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / _ARRAYS).write_bytes(save(arrays))
    (folder / _INDEX).write_text(json.dumps(index, indent=1, sort_keys=True) + "\n", "utf-8")


def write_labels(folder: Folder, probe: str, seen: Mapping[str, Mapping[str, Any]]) -> None:
    """Add what a probe saw in the folder's trajectories: by key, the header of a `Finding`."""
    labels = {"probe": probe, "seen": seen}
    (folder / LABELS).write_text(json.dumps(labels, indent=1, sort_keys=True) + "\n", "utf-8")


def pack_floats(array: NDArray[np.float32]) -> bytes:
    """Floats of any shape as fewer bytes, without loss.

    The last byte of each, sign and exponent, deflates well, which saves a sixth of all. The other
    three are as good as random. (Differences between steps gain one hundredth more.)
    """
    planes = np.ascontiguousarray(array, _FLOAT32).view(np.uint8).reshape(-1, 4).T
    return zlib.compress(planes[3].tobytes(), 9) + planes[:3].tobytes()


def unpack_floats(packed: bytes) -> NDArray[np.float32]:
    """Undo `pack_floats`, in one dimension."""
    inflate = zlib.decompressobj()
    exponents = inflate.decompress(packed)
    planes = np.frombuffer(inflate.unused_data + exponents, np.uint8).reshape(4, -1)
    return np.ascontiguousarray(planes.T).view(_FLOAT32).reshape(-1)


def _split(payload: bytes, lengths: Iterable[int]) -> list[bytes]:
    parts, start = [], 0
    for length in lengths:
        parts.append(payload[start : start + length])
        start += length
    return parts
