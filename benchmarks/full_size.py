"""Whether full-size models fit: python -m benchmarks.full_size sdxl FOLDER [--side 256] [--json F]

Writes Stable Diffusion 1.5 or SDXL base 1.0 as a diffusers folder: the exact architectures, so the
sizes, times and memory are theirs; random weights, so the pictures show nothing. Then the folder is
loaded and a grid sampled, as anybody's would be. A folder that is there already is used as it is.

Made up as well is the tokenizer: 49,408 ids as in CLIP's, but merges of arbitrary pairs of bytes.
The safety checker is left out. The folder takes 4.3 GB (sd15) or 13.9 GB (sdxl), half of it in
float16. It is written by a process of its own, whose memory is free again when sampling begins.

`--gpu-grid` is the grid for a CUDA device: 4 x 4, 50 steps, float16.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from itertools import islice, product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffgrid import api
from diffgrid.engine.local import LocalEngine
from diffgrid.engine.protocol import Snapshot
from diffgrid.models.registry import specify
from diffgrid.spec.grid import SHARES, rows_near
from diffgrid.store.forgiving import TrajectoryStore

IDS = 49_408  # of CLIP's vocabulary; the last two are the marks of a text's start and end
START, END = "<|startoftext|>", "<|endoftext|>"
TOKENS = 77  # the longest text
MOST_ROWS = 4


@dataclass(frozen=True)
class Part:
    """A network: `class_name` of `library`, its configuration as published, its parameters."""

    library: str
    class_name: str
    parameters: int
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Architecture:
    """A pipeline's networks by name, its tokenizers' padding by name, and its own scheduler."""

    pipeline: str
    side: int  # pixels
    networks: Mapping[str, Part]
    tokenizers: Mapping[str, str]
    scheduler: Mapping[str, Any]
    settings: Mapping[str, Any]  # the pipeline's own, in model_index.json


def _text_encoder(class_name: str, parameters: int, **config: Any) -> Part:
    common = {
        "vocab_size": IDS,
        "max_position_embeddings": TOKENS,
        "layer_norm_eps": 1e-5,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
    }
    return Part("transformers", class_name, parameters, common | config)


def _vae(sample_size: int, scaling_factor: float, **config: Any) -> Part:
    common = {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 4,
        "block_out_channels": [128, 256, 512, 512],
        "layers_per_block": 2,
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "norm_num_groups": 32,
        "act_fn": "silu",
        "sample_size": sample_size,
        "scaling_factor": scaling_factor,
    }
    return Part("diffusers", "AutoencoderKL", 83_653_863, common | config)


_UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 2,
    "act_fn": "silu",
    "norm_num_groups": 32,
    "norm_eps": 1e-5,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
}
_BETAS = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
_CLIP_L = _text_encoder(
    "CLIPTextModel",
    123_060_480,
    hidden_size=768,
    intermediate_size=3072,
    num_hidden_layers=12,
    num_attention_heads=12,
    projection_dim=768,
    hidden_act="quick_gelu",
)

ARCHITECTURES = {
    "sd15": Architecture(
        pipeline="StableDiffusionPipeline",
        side=512,
        networks={
            "unet": Part(
                "diffusers",
                "UNet2DConditionModel",
                859_520_964,
                _UNET
                | {
                    "sample_size": 64,
                    "block_out_channels": [320, 640, 1280, 1280],
                    "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
                    "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
                    "attention_head_dim": 8,
                    "cross_attention_dim": 768,
                },
            ),
            "vae": _vae(512, 0.18215),
            "text_encoder": _CLIP_L,
        },
        tokenizers={"tokenizer": END},
        scheduler=_BETAS
        | {
            "_class_name": "PNDMScheduler",
            "skip_prk_steps": True,
            "set_alpha_to_one": False,
            "trained_betas": None,
            "clip_sample": False,
        },
        settings={
            "safety_checker": [None, None],
            "feature_extractor": [None, None],
            "requires_safety_checker": False,
        },
    ),
    "sdxl": Architecture(
        pipeline="StableDiffusionXLPipeline",
        side=1024,
        networks={
            "unet": Part(
                "diffusers",
                "UNet2DConditionModel",
                2_567_463_684,
                _UNET
                | {
                    "sample_size": 128,
                    "block_out_channels": [320, 640, 1280],
                    "down_block_types": ["DownBlock2D", *["CrossAttnDownBlock2D"] * 2],
                    "up_block_types": [*["CrossAttnUpBlock2D"] * 2, "UpBlock2D"],
                    "attention_head_dim": [5, 10, 20],
                    "transformer_layers_per_block": [1, 2, 10],
                    "cross_attention_dim": 2048,
                    "use_linear_projection": True,
                    "addition_embed_type": "text_time",
                    "addition_time_embed_dim": 256,
                    "projection_class_embeddings_input_dim": 2816,
                },
            ),
            "vae": _vae(1024, 0.13025, force_upcast=True),
            "text_encoder": _CLIP_L,
            "text_encoder_2": _text_encoder(
                "CLIPTextModelWithProjection",
                694_659_840,
                hidden_size=1280,
                intermediate_size=5120,
                num_hidden_layers=32,
                num_attention_heads=20,
                projection_dim=1280,
                hidden_act="gelu",
            ),
        },
        tokenizers={"tokenizer": END, "tokenizer_2": "!"},
        scheduler=_BETAS
        | {
            "_class_name": "EulerDiscreteScheduler",
            "interpolation_type": "linear",
            "use_karras_sigmas": False,
        },
        settings={"force_zeros_for_empty_prompt": True},
    ),
}


def on_meta(part: Part) -> nn.Module:
    """The network without its numbers: it takes no memory."""
    library = import_module(part.library)
    network = getattr(library, part.class_name)
    with torch.device("meta"):
        made: nn.Module = (
            network.from_config(dict(part.config))
            if part.library == "diffusers"
            else network(library.CLIPTextConfig(**part.config))
        )
    return made


def count(network: nn.Module) -> int:
    """How many parameters it has."""
    return sum(parameter.numel() for parameter in network.parameters())


@torch.no_grad()
def fill(network: nn.Module, generator: torch.Generator) -> None:
    """No biases, norms that only normalise, and weights as small as torch's own first ones.

    That keeps what comes out finite, through any depth.
    """
    for name, parameter in network.named_parameters():
        if parameter.ndim == 1:
            parameter.fill_(name.endswith("weight"))
        else:
            bound = parameter[0].numel() ** -0.5
            parameter.uniform_(-bound, bound, generator=generator)


def tokenizer(padding: str) -> Any:
    """A tokenizer with as many ids as CLIP's: bytes, bytes that end a word, pairs, two marks."""
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in [*range(33, 127), *range(161, 173), *range(174, 256)]]
    letters += [chr(256 + code) for code in range(256 - len(letters))]  # for bytes with no picture
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges = list(islice(product(letters, letters), IDS - len(words) - 2))
    words += ["".join(pair) for pair in merges]
    words += [START, END]
    return CLIPTokenizer(
        vocab={word: number for number, word in enumerate(words)},
        merges=merges,
        pad_token=padding,
        model_max_length=TOKENS,
    )


def write(folder: Path, architecture: Architecture, dtype: str) -> None:
    """The architecture as a diffusers folder, one network in memory at a time; same every time."""
    generator = torch.Generator().manual_seed(0)
    index: dict[str, Any] = {"_class_name": architecture.pipeline, **architecture.settings}
    for name, part in architecture.networks.items():
        network: Any = nn.Module.to(on_meta(part), getattr(torch, dtype)).to_empty(device="cpu")
        fill(network, generator)
        network.save_pretrained(folder / name)
        index[name] = [part.library, part.class_name]
        del network  # before the next one is made
    for name, padding in architecture.tokenizers.items():
        tokenizer(padding).save_pretrained(folder / name)
        index[name] = ["transformers", "CLIPTokenizer"]
    index["scheduler"] = ["diffusers", architecture.scheduler["_class_name"]]
    _write_json(folder / "scheduler" / "scheduler_config.json", dict(architecture.scheduler))
    _write_json(folder / "model_index.json", index)  # last: with it the folder counts as whole


class Stopwatch:
    """How long a kind of network was busy, and with how many rows; what overlaps counts once."""

    def __init__(self, network: Any) -> None:
        """From now on every call of this class is timed."""
        self.seconds, self.rows = 0.0, 0
        self._running, self._since = 0, 0.0
        self._lock = threading.Lock()  # a batch may run in halves, side by side
        forward = network.forward

        @wraps(forward)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self._running_one():
                output = forward(*args, **kwargs)
            tensor = output if isinstance(output, Tensor) else output[0]
            with self._lock:
                self.rows += len(tensor)
            return output

        network.forward = timed

    @contextmanager
    def _running_one(self) -> Iterator[None]:
        with self._lock:
            if not self._running:
                self._since = _now()
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                if not self._running:
                    self.seconds += _now() - self._since


def sample(options: argparse.Namespace) -> dict[str, Any]:
    """Load the folder, sample the grid; what it took."""
    from diffusers import UNet2DConditionModel
    from diffusers.models.autoencoders.vae import Decoder

    denoiser, decoder = Stopwatch(UNet2DConditionModel), Stopwatch(Decoder)
    run = {
        "model": str(options.folder),
        "prompt": "a lighthouse on a cliff above a stormy sea, oil on canvas",
        "steps": options.steps,
        "scheduler": options.scheduler,
        "height": options.side,
        "width": options.side,
        "dtype": options.dtype,
    }
    began = _now()
    spec = specify(**run)
    hashed = _now() - began
    steps = [round(spec.loop.length * share) for share in SHARES[:MOST_ROWS]]
    reached: dict[str, float] = {}

    def watch(snapshot: Snapshot) -> None:
        reached.setdefault(snapshot.state, _now())

    with tempfile.TemporaryDirectory() as cache:
        began = _now()
        grid = api.grid(
            rows=rows_near(spec.loop, steps)[-options.rows :],
            columns=options.columns,
            engine=LocalEngine(TrajectoryStore(Path(cache)), options.device),
            watch=watch,
            **run,
        )
        total = _now() - began
        if options.out:
            grid.save(options.out)
    cuda = torch.cuda.is_available() and options.device != "cpu"
    return {
        "device": torch.cuda.get_device_name()
        if cuda
        else f"cpu, {torch.get_num_threads()} threads",
        "grid": f"{len(grid.request.rows)} x {options.columns}, {spec.length} steps, "
        f"{options.side} px, {spec.scheduler}, {options.dtype}",
        "trajectories": len(grid.request.paths),
        "evaluations": grid.evaluations,
        "pictures decoded": decoder.rows,
        "seconds to hash": hashed,
        "seconds to load": reached.get("sampling", began) - began,
        "seconds an evaluation": denoiser.seconds / max(1, grid.evaluations["sampled"]),
        "seconds a decode": decoder.seconds / max(1, decoder.rows),
        "seconds denoising": denoiser.seconds,
        "seconds decoding": decoder.seconds,
        "seconds in all": total,
        "peak memory, GB": _peak(resource.RUSAGE_SELF),
        **({"peak GPU memory, GB": torch.cuda.max_memory_allocated() / 1e9} if cuda else {}),
        "finite": all(bool(torch.tensor(cell.latents).isfinite().all()) for cell in _cells(grid)),
    }


def _cells(grid: api.Grid) -> Iterator[api.Trajectory]:
    yield grid.trunk
    for row in grid.cells:
        yield from row


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # it is asynchronous: only then is the work done
    return time.perf_counter()


def _peak(who: int) -> float:
    """The most memory a process had, in GB; the pages of files it had mapped are in it."""
    return resource.getrusage(who).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def _write_json(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("name", choices=ARCHITECTURES, help="which architecture")
    add("folder", type=Path, help="where to write it, or where it is")
    add("--side", type=int, help="pixels (default: what it was trained for)")
    add("--steps", type=int, default=4)
    add("--rows", type=int, default=2, help=f"how many rows fork, at most {MOST_ROWS}")
    add("--columns", type=int, default=2)
    add("--scheduler", help="default: the model's own")
    add("--dtype", default="float32", help="float32, bfloat16 or float16")
    add("--device", help="cpu or cuda (default: the fastest here)")
    add("--gpu-grid", action="store_true", help="4 x 4, 50 steps, float16, on a CUDA device")
    add("--json", type=Path, metavar="FILE", help="write the figures there")
    add("--out", type=Path, metavar="FILE", help="write the picture of the grid there")
    options = parser.parse_args()
    if options.gpu_grid:
        options.rows, options.columns, options.steps = MOST_ROWS, 4, 50
        options.dtype, options.device = "float16", "cuda"
    options.side = options.side or ARCHITECTURES[options.name].side
    return options


def main() -> None:
    options = _options()
    figures: dict[str, Any] = {"model": options.name}
    if not (options.folder / "model_index.json").exists():
        began = time.perf_counter()
        arguments = (options.folder, ARCHITECTURES[options.name], options.dtype)
        writer = multiprocessing.get_context("spawn").Process(target=write, args=arguments)
        writer.start()
        writer.join()
        if writer.exitcode:
            raise SystemExit(f"the folder could not be written (exit code {writer.exitcode})")
        figures["seconds to write"] = time.perf_counter() - began
        figures["peak memory of the writer, GB"] = _peak(resource.RUSAGE_CHILDREN)
    files = options.folder.rglob("*.safetensors")
    figures["folder, GB"] = sum(file.stat().st_size for file in files) / 1e9
    figures |= sample(options)
    for name, value in figures.items():
        print(f"{name:30} {f'{value:.2f}' if isinstance(value, float) else value}")
    if options.json:
        _write_json(options.json, figures)


if __name__ == "__main__":
    main()
