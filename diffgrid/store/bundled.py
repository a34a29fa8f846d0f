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

and is opened when something is first looked for in it. `training.first_grid` makes it.
"""

import json
import logging
import math
import zlib
from collections.abc import Set
from functools import cached_property, lru_cache
from pathlib import Path as Folder
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from diffgrid.records.codec import Unsealed
from diffgrid.records.frames import Frames
from diffgrid.records.trajectories import Trajectory
from diffgrid.spec.path import Path, format_path, parse_path
from diffgrid.spec.run import RunSpec

FIRST_GRID = Folder(__file__).parents[1] / "assets" / "first_grid"

INDEX, ARRAYS, LABELS = "index.json", "arrays.safetensors", "labels.json"
LEVELS = ("timesteps", "alphas", "sigmas")
_FLOAT32 = np.dtype("<f4")
log = logging.getLogger(__name__)


class Bundled:
    """The trajectories in such a folder; none where it is None, missing or cut."""

    def __init__(self, folder: Folder | None = FIRST_GRID) -> None:
        self.folder = folder
        # A look-up reads a parent for each of its branches: the last ones are kept, in some 3 MB.
        self._whole = lru_cache(maxsize=8)(self._read)

    @property
    def keys(self) -> Set[str]:
        """The keys of all its trajectories."""
        return self._paths.keys()

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
        steps = {k: [(fork.step, fork.branch) for fork in path] for k, path in self._paths.items()}
        nearest = sorted(steps, key=lambda key: (len(steps[key]), steps[key]))
        return [(key, self._spec, self._paths[key], size) for key in nearest]

    def has(self, key: str) -> bool:
        """Whether a trajectory is among them."""
        return key in self.keys

    def get(self, key: str) -> Trajectory | None:
        """The finished trajectory, if it is among them."""
        if key not in self.keys:
            return None
        path = self._paths[key]
        return Trajectory(
            spec=self._spec,
            path=path,
            latents=self._whole("latents", path),
            model_outputs=self._whole("model_outputs", path),
            prediction_type=self._index["prediction_type"],
            **{name: self._arrays.get_tensor(name) for name in LEVELS},
        )

    def get_frames(self, key: str, digest: str) -> Unsealed | None:
        """Header and payload of its pictures, as `Frames.to_payload` makes them."""
        if key not in self.keys or digest != self.decoder:
            return None
        header, payload = self._frames(self._paths[key]).to_payload()
        return header, memoryview(payload)

    def get_labels(self, key: str, probe: str) -> Unsealed | None:
        """Header and picture of what this probe saw, as `Finding.to_payload` makes them."""
        if key not in self.keys or self._seen["probe"] != probe or key not in self._seen["seen"]:
            return None
        return self._seen["seen"][key], memoryview(self._frames(self._paths[key]).final)

    @cached_property
    def _paths(self) -> dict[str, Path]:
        entries: dict[str, Any] = self._index["trajectories"]
        return {key: parse_path(entry["path"]) for key, entry in entries.items()}

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
                index = json.loads((self.folder / INDEX).read_bytes())
                return index, safe_open(self.folder / ARRAYS, framework="numpy")
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
        *x0, final = self._lengths[format_path(path)]
        own = Frames.from_payload({"x0": x0, "final": final}, self._own("frames", path))
        if not path:
            return own
        parent = self._frames(path[:-1]).x0
        return Frames((*parent[: len(parent) - len(x0)], *own.x0), own.final)


def unpack_floats(packed: bytes) -> NDArray[np.float32]:
    """Floats in one dimension, from the last byte of each, deflated, and then the other three.

    The last one, sign and exponent, deflates well, which saves a sixth of all. The others are as
    good as random. (Differences between steps gain one hundredth more.)
    """
    inflate = zlib.decompressobj()
    exponents = inflate.decompress(packed)
    planes = np.frombuffer(inflate.unused_data + exponents, np.uint8).reshape(4, -1)
    return np.ascontiguousarray(planes.T).view(_FLOAT32).reshape(-1)
