"""A trajectory: every x_t on the way from noise to a picture, and every model output.

From these follow, with no evaluation, the model's guess x̂0 at each step, the state of any
scheduler, and every fork. A checkpoint is the same value with fewer than T steps known.
"""

import json
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from diffgrid.errors import BadInput, Damaged, OtherVersion
from diffgrid.records.codec import seal, unseal
from diffgrid.spec.path import Path, check_path, format_path, parse_path
from diffgrid.spec.run import RunSpec, key
from diffgrid.spec.schedulers import limit_of, sigma_data_of

PredictionType = Literal[
    "epsilon",
    "sample",
    "original_sample",
    "v_prediction",
    "flow_prediction",
    "edm_epsilon",
    "edm_v_prediction",
]

_KIND = "trajectory"
_FLOAT32, _FLOAT64 = np.dtype("<f4"), np.dtype("<f8")
SAFETENSORS_NAMES = {_FLOAT32: "F32", _FLOAT64: "F64"}
_LONGEST_TABLE = 4096  # bytes of the safetensors table of contents; five tensors take some 400


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One run specification followed along one path: n of its T steps, or all of them.

    x_t = alpha·x_0 + sigma·noise in the coordinates the scheduler keeps x_t in: (1, sigma) for
    Euler and its kin, (√ᾱ, √(1-ᾱ)) for DDIM, (1-sigma, sigma) for flow matching. The arrays are
    read-only.

    Raises:
        BadInput: the arrays do not fit together or the specification, or the path is too long.
    """

    spec: RunSpec
    path: Path
    latents: NDArray[np.float32]  # (n+1, C, H, W), x_t before each step and after the last
    model_outputs: NDArray[np.float32]  # (n, C, H, W), guided
    timesteps: NDArray[np.float64]  # (T,), the scheduler's own values
    alphas: NDArray[np.float64]  # (T+1,)
    sigmas: NDArray[np.float64]  # (T+1,)
    prediction_type: PredictionType
    made: str = ""  # where: device, threads and libraries, in words; not known of older runs

    def __post_init__(self) -> None:
        check_path(self.path, self.spec.loop)
        if self.prediction_type not in get_args(PredictionType):
            raise BadInput(
                f"prediction type {self.prediction_type!r} is not known: "
                f"use one of {', '.join(get_args(PredictionType))}."
            )
        if self.model_outputs.ndim != 4 or self.steps > self.spec.length:
            raise BadInput(
                f"model_outputs has shape {self.model_outputs.shape}, but must be (n, C, H, W) "
                f"with n at most {self.spec.length}."
            )
        layout = array_layout(self.spec.length, self.steps, self.model_outputs.shape[1:])
        for name, (dtype, shape) in layout.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.shape != shape:
                raise BadInput(
                    f"{name} is {array.dtype} {array.shape}, but must be {dtype} {shape}."
                )
            frozen = np.ascontiguousarray(array).view()
            frozen.flags.writeable = False
            object.__setattr__(self, name, frozen)

    @property
    def steps(self) -> int:
        """n, how many of the T steps are known."""
        return len(self.model_outputs)

    @property
    def done(self) -> bool:
        """Whether all T steps are known: the last x_t is then the final sample."""
        return self.steps == self.spec.length

    @property
    def key(self) -> str:
        """The name it is stored under."""
        return key(self.spec, self.path)

    @cached_property
    def alpha_bar(self) -> NDArray[np.float64]:
        """The noise level ᾱ = alpha²/(alpha²+sigma²) before each step and at the end, (T+1,)."""
        signal, noise = self.alphas**2, self.sigmas**2
        return signal / (signal + noise)

    @cached_property
    def pred_original_sample(self) -> NDArray[np.float32]:
        """x̂0, the (guided) guess of the final sample before each known step, (n, C, H, W): the one
        that the scheduler goes by, clipped or thresholded where its step does so."""
        alphas, sigmas = (
            levels[: self.steps, None, None, None] for levels in (self.alphas, self.sigmas)
        )
        with np.errstate(divide="ignore", invalid="ignore"):  # alpha may be 0 at first
            guess: NDArray[Any] = pred_original_sample(
                self.latents[:-1],
                self.model_outputs,
                alphas,
                sigmas,
                self.prediction_type,
                sigma_data_of(self.spec.scheduler_config),
            )
        return limited(guess.astype(np.float32), self.spec)

    def pred_original_sample_at(self, step: int) -> NDArray[np.float32]:
        """x̂0 before one known step, (C, H, W)."""
        with np.errstate(divide="ignore", invalid="ignore"):  # alpha may be 0 at first
            guess: NDArray[Any] = pred_original_sample(
                self.latents[step],
                self.model_outputs[step],
                self.alphas[step],
                self.sigmas[step],
                self.prediction_type,
                sigma_data_of(self.spec.scheduler_config),
            )
        own: NDArray[np.float32] = limited(guess.astype(np.float32)[None], self.spec)[0]
        return own


def pred_original_sample(
    latents: Any,
    model_output: Any,
    alpha: Any,
    sigma: Any,
    prediction_type: PredictionType,
    sigma_data: float = 0.5,
) -> Any:
    """x̂0 from x_t and the model's output; arrays or tensors of one shape, levels that broadcast.

    Epsilon and v as in DDIM and progressive distillation (arXiv 2010.02502, 2202.00512), with v
    written for x_t of any scale: of x_t/r, which has alpha²+sigma² = 1. EDM's preconditioned
    outputs as in Karras et al. (arXiv 2206.00364, table 1), where alpha = 1.
    """
    match prediction_type:
        case "epsilon":
            return (latents - sigma * model_output) / alpha
        case "v_prediction":
            r = (alpha**2 + sigma**2) ** 0.5
            return alpha / r**2 * latents - sigma / r * model_output
        case "flow_prediction":
            return latents - sigma * model_output
        case "edm_epsilon" | "edm_v_prediction":
            variance = sigma**2 + sigma_data**2
            sign = 1 if prediction_type == "edm_epsilon" else -1
            skip = sigma_data**2 / variance * latents
            return skip + sign * sigma * sigma_data / variance**0.5 * model_output
        case "sample" | "original_sample":
            return model_output


def limited(x0: NDArray[np.float32], spec: RunSpec) -> NDArray[np.float32]:
    """x̂0, (n, C, H, W), as the scheduler's step takes it: clipped, or dynamically thresholded
    (Saharia et al., arXiv 2205.11487, section 2.3), where its configuration asks for that."""
    limit = limit_of(spec.scheduler, spec.scheduler_config)
    if limit is None:
        return x0
    quantile, most = limit
    if quantile is None:
        clipped: NDArray[np.float32] = x0.clip(-most, most)
        return clipped
    sizes = np.quantile(np.abs(x0), quantile, axis=(1, 2, 3), keepdims=True)
    sizes = np.minimum(np.maximum(sizes, 1), most)
    thresholded: NDArray[np.float32] = (x0.clip(-sizes, sizes) / sizes).astype(np.float32)
    return thresholded


def to_bytes(trajectory: Trajectory) -> bytes:
    """The trajectory as one sealed value: its words in the header, its arrays in safetensors."""
    arrays = {name: getattr(trajectory, name) for name in array_layout(0, 0, ())}
    header = {
        "specification": trajectory.spec.to_dict(),
        "path": format_path(trajectory.path),
        "prediction_type": trajectory.prediction_type,
        "steps": trajectory.steps,
        "shape": trajectory.model_outputs.shape[1:],
        **({"made": trajectory.made} if trajectory.made else {}),
    }
    return seal(_KIND, header, save(arrays))


def from_bytes(value: bytes | memoryview, stored_under: str | None = None) -> Trajectory:
    """Take back what `to_bytes` gave; the arrays are views of `value`. Safe on foreign bytes.

    Raises:
        Damaged: the bytes are damaged, or no trajectory.
        OtherVersion: this version does not understand its specification or path, or gives it
            another key than the one it is `stored_under` (its sampler has changed since, say).
    """
    header, payload = unseal(_KIND, value)
    match {"made": "", **header}:
        case {
            "specification": dict(specification),
            "path": str(path),
            "made": str(made),
            "prediction_type": str(),
            "steps": int(steps),
            "shape": [int(channels), int(height), int(width)],
        } if min(steps, channels, height, width) >= 0:
            spec, forks = run_named(specification, path, stored_under)
            try:
                layout = array_layout(spec.length, steps, (channels, height, width))
                return Trajectory(
                    spec=spec,
                    path=forks,
                    prediction_type=header["prediction_type"],
                    made=made,
                    **_arrays(payload, layout),
                )
            except BadInput as error:
                raise OtherVersion(f"this version of diffgrid cannot read it: {error}") from error
    raise Damaged(f"the trajectory's header has other fields than expected: {sorted(header)}.")


def run_named(
    specification: dict[str, Any], path: str, stored_under: str | None
) -> tuple[RunSpec, Path]:
    """What a header says in words: which specification was followed along which path.

    Raises:
        OtherVersion: see `from_bytes`.
    """
    try:
        spec, forks = RunSpec.from_dict(specification), parse_path(path)
    except BadInput as error:
        raise OtherVersion(f"this version of diffgrid cannot read it: {error}") from error
    if stored_under not in (None, key(spec, forks)):
        raise OtherVersion("it is stored under another key than this version of diffgrid gives it.")
    return spec, forks


Layout = dict[str, tuple["np.dtype[Any]", tuple[int, ...]]]


def array_layout(length: int, steps: int, shape: tuple[int, ...]) -> Layout:
    """The arrays by name, each with its dtype and shape."""
    return {
        "latents": (_FLOAT32, (steps + 1, *shape)),
        "model_outputs": (_FLOAT32, (steps, *shape)),
        "timesteps": (_FLOAT64, (length,)),
        "alphas": (_FLOAT64, (length + 1,)),
        "sigmas": (_FLOAT64, (length + 1,)),
    }


def _arrays(payload: memoryview, layout: Layout) -> dict[str, NDArray[Any]]:
    # Not safetensors.numpy.load: it copies every array, and it loads whatever the bytes name, be it
    # 200,000 empty tensors (2 seconds, 380 MB).
    start = 8 + int.from_bytes(payload[:8], "little")
    if not 8 < start <= min(_LONGEST_TABLE, len(payload)):
        raise Damaged("the trajectory's arrays have no sound table of contents.")
    try:
        table = json.loads(bytes(payload[8:start]))
    except (ValueError, RecursionError):
        table = None
    if not isinstance(table, dict) or table.keys() != layout.keys():
        raise Damaged(f"the trajectory's arrays are not {', '.join(layout)}.")
    data, arrays = payload[start:], {}
    for name, (dtype, shape) in layout.items():
        count = math.prod(shape)
        match table[name]:
            case {
                "dtype": str(kind),
                "shape": list(sides),
                "data_offsets": [int(begin), int(end)],
            } if (
                kind == SAFETENSORS_NAMES[dtype]
                and sides == list(shape)
                and 0 <= begin <= end <= len(data)
                and end - begin == count * dtype.itemsize
            ):
                arrays[name] = np.frombuffer(data[begin:end], dtype).reshape(shape)
            case _:
                raise Damaged(f"the trajectory's {name} are not {dtype} {shape}.")
    return arrays
