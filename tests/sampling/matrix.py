"""Family x scheduler: every pair against plain diffusers and against itself.

    OMP_NUM_THREADS=1 python -m tests.sampling.matrix > table.md
    OMP_NUM_THREADS=1 python -m tests.sampling.matrix ChromaPipeline  # the rows of these classes

The one suite for "the trunk is what diffusers makes": test_matrix.py checks some pairs with it, and
`make matrix` all. Of each pair: the trunk is what the pipeline's own call makes; branches of every
kind are the same batched, and begun alone and finished alone (of all pairs in another process); no
evaluation is made twice; each branch shares its parent's steps and then differs from it; going back
is the forward process; a change of nothing is no change.
"""

import inspect
import json
import multiprocessing
import sys
import tempfile
import warnings
from collections.abc import Container, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path as Folder
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import DiffusionPipeline
from numpy.typing import NDArray
from PIL import Image

from diffgrid.errors import DiffgridError
from diffgrid.models.families import IMAGE_TO_IMAGE
from diffgrid.models.registry import find_model, specify
from diffgrid.records.trajectories import Trajectory, from_bytes, to_bytes
from diffgrid.sampling import noise, pipelines, preparation
from diffgrid.sampling.preparation import Prepared
from diffgrid.sharing.photo import digest_of
from diffgrid.spec.path import Path, ancestors, behind, minimum, parse_path
from diffgrid.spec.run import RunSpec
from diffgrid.spec.schedulers import SCHEDULERS, Scheduler
from tests import tiny, zoo
from tests.sampling import gaussian
from tests.sampling.recorded import final, record

STEPS, SEED, SIDE = 8, 3, 32
STRENGTH = 0.75  # of a photo, for which 12 steps are asked for: 9 are left, 3 left out
ETA = 0.5  # of schedulers that take one
BUILT = tiny.FAMILIES | zoo.CLASSES
OWN = "own"  # the scheduler of the folder
NAMES = tuple(scheduler.name for scheduler in SCHEDULERS)
TRUNK = 1e-5  # the most a trunk may be off, absolutely: finals are of order 1 to 10
BRANCH = 1e-4  # batches of other sizes round otherwise
DIFFERS = 1e-3  # the least that a branch must differ from its parent


@dataclass(frozen=True)
class Cell:
    """What came out for one pair; errors are the largest over all latents."""

    trunk: float | None = None  # None: the library itself is not reproducible
    branches: float = 0.0
    unchanged: float = 0.0  # how far a change of nothing is from its parent
    renoised: float = 0.0  # how far going back is from the forward process
    wasted: int = 0  # evaluations above the minimum, or below it
    shared: bool = True  # whether a branch has its parent's own steps before it leaves
    differs: float = 0.0  # of the branch that differs least
    refused: str = ""  # why the pair makes no sense

    @property
    def failures(self) -> list[str]:
        found = {
            f"the trunk is off by {self.trunk}": self.trunk is not None and not self.trunk <= TRUNK,
            f"branches are off by {self.branches}": not self.branches <= BRANCH,
            f"a change of nothing makes {self.unchanged}": not self.unchanged <= TRUNK,
            f"going back is off by {self.renoised}": not self.renoised <= BRANCH,
            f"{self.wasted} evaluations more than needed": self.wasted != 0,
            "a branch does not share its parent's steps": not self.shared,
            f"a branch differs by {self.differs} only": not self.differs >= DIFFERS,
        }
        return [] if self.refused else [what for what, failed in found.items() if failed]

    def __str__(self) -> str:
        if self.refused:
            return "–"
        trunk = "not reproducible" if self.trunk is None else short(self.trunk)
        return f"{trunk} · {short(self.branches)}"


def save(folder: Folder, family: str) -> Folder:
    """A tiny pipeline's folder."""
    BUILT[family].build().save_pretrained(folder)
    return folder


def short(error: float) -> str:
    return f"{error:.0e}" if error else "0"


def scales_input(kind: Scheduler) -> bool:
    """Whether x_t is not what the denoiser sees."""
    scheduler, x = getattr(diffusers, kind.class_name)(), torch.ones(1)
    scheduler.set_timesteps(STEPS)
    return not torch.equal(scheduler.scale_model_input(x, scheduler.timesteps[0]), x)


def unsuited(family: str, name: str) -> str:
    """Why a pair makes no sense; empty where it does."""
    if name == OWN:
        return ""
    kind = next(scheduler for scheduler in SCHEDULERS if scheduler.name == name)
    takes = inspect.signature(getattr(diffusers, kind.class_name).step).parameters
    if package := kind.missing():
        return f"{package} is not installed here"
    if kind.flow != (family in ("stable_diffusion_3", "flux")):
        return "a model trained for flow matching needs a scheduler for it, and no other does"
    if family == "flux" and name in ("flow_match_heun", "flow_match_lcm"):
        return "the pipeline gives the sigmas, which this scheduler does not take"
    if family == "latent_consistency" and name != "lcm":
        return "the pipeline gives original_inference_steps, which only LCM's scheduler takes"
    if family == "ddim" and name != "ddim":
        return "the pipeline makes its scheduler into DDIM"
    if family == "ddpm" and scales_input(kind):
        return "the pipeline does not let the scheduler scale the model's input"
    if family == "ddpm" and "generator" not in takes:
        return "the pipeline gives a generator, which this scheduler does not take"
    if family == "ddpm" and name == "tcd":
        return "the pipeline gives no eta, and this scheduler's own is not 0"
    if family == "stable_diffusion_xl" and name.startswith("edm_"):
        return "the model's own scheduler leaves sigma_min and sigma_max open"
    return ""


def options(family: str, name: str, folder: Folder) -> dict[str, Any]:
    """What `specify` is given for a pair."""
    call = BUILT[family].call
    if family in zoo.CLASSES:  # what no option of a run names
        of_a_run = ("guidance_scale", "negative_prompt", "height", "width")
        vars(find_model(str(folder)).family)["call"] = {
            name: value for name, value in call.items() if name not in of_a_run
        }
    pipeline = type(plain_pipeline(folder))
    takes = inspect.signature(pipeline.__call__).parameters
    kind = kind_of(name, folder)
    chosen = {
        "model": str(folder),
        "scheduler": None if name == OWN else name,
        "steps": STEPS,
        "seed": SEED,
        "prompt": "a red cat" if "prompt" in takes else None,
        "guidance": call.get("guidance_scale"),
        "negative_prompt": call.get("negative_prompt"),
        "eta": ETA if kind.takes_eta and "eta" in takes else None,
        "height": call.get("height"),
        "width": call.get("width"),
    }
    return {option: value for option, value in chosen.items() if value is not None}


def photo(height: int, width: int | None = None) -> Image.Image:
    """A picture to begin with: waves of all colours."""
    rows, columns = np.mgrid[:height, : width or height] / 5
    waves = np.stack([np.sin(rows + columns), np.cos(rows * 2), np.sin(rows - columns * 3)], -1)
    return Image.fromarray(((waves + 1) * 127).astype(np.uint8))


def beginning(strength: float, height: int = SIDE, width: int = SIDE) -> dict[str, Any]:
    """What `specify` is given to begin with it: so many steps that some are left."""
    return {"image": digest_of(photo(height, width)), "strength": strength, "steps": STEPS + 4}


def kind_of(name: str, folder: Folder) -> Scheduler:
    """The scheduler of a pair."""
    own = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())["_class_name"]
    wanted = (name, None) if name != OWN else (None, own)
    return next(
        kind for kind in SCHEDULERS if kind.name == wanted[0] or kind.class_name == wanted[1]
    )


# --- the library's own
# ----------------------------------------------------------------------------------------


@lru_cache(maxsize=3)
def plain_pipeline(folder: Folder, begins_with_photo: bool = False) -> DiffusionPipeline:
    kind = DiffusionPipeline
    if begins_with_photo:
        kind = getattr(diffusers, IMAGE_TO_IMAGE[type(plain_pipeline(folder)).__name__])
    pipe = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def plain_diffusers(
    family: str, spec: RunSpec, kind: Scheduler, option: Mapping[str, Any] | None = None
) -> NDArray[np.float32]:
    """What the library makes, as its documentation says to change schedulers: final latents
    (C, H, W); a picture in 0 … 1 of pipelines that diffuse pixels. `option` is given to its call
    too."""
    folder = Folder(spec.model)
    pipe = plain_pipeline(folder, bool(spec.photo))
    own = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    pipe.scheduler = getattr(diffusers, kind.class_name).from_config(own, **kind.adds)
    every = {
        "prompt": spec.prompt,
        "eta": spec.eta,
        "output_type": "latent" if hasattr(pipe, "vae") or hasattr(pipe, "movq") else "pt",
        "num_inference_steps": spec.num_inference_steps,
        "generator": torch.Generator("cpu").manual_seed(SEED),
        "image": photo(spec.height, spec.width) if spec.photo else None,
        "strength": spec.option("strength"),
    }
    takes = inspect.signature(pipe.__call__).parameters
    own_way = preparation.family_of_pipe(plain_pipeline(folder))
    if not own_way.seeds_steps:
        torch.manual_seed(SEED)
    told = {name: value for name, value in every.items() if value is not None}
    every = told | dict(BUILT[family].call) | dict(option or {})
    call: dict[str, Any] = {name: value for name, value in every.items() if name in takes}
    after: list[torch.Tensor] = []
    if family in zoo.CLASSES and (noting := noted(takes, after)):
        call |= {**noting, "output_type": "np"}
    made = pipe(**call)[0]
    made = after[-1] if after else made
    latents: NDArray[np.float32] = own_way.unpack(made, spec.height, spec.width, pipe)[0].numpy()
    return latents


def noted(takes: Container[str], after: list[torch.Tensor]) -> dict[str, Any]:
    """What has a call note x after each step, as its pipeline has it; empty where it has no word
    for that."""

    def note(_: Any, __: int, ___: Any, now: dict[str, Any]) -> dict[str, Any]:
        after.append(now["latents"])
        return now

    if "callback_on_step_end" in takes:
        return {"callback_on_step_end": note}
    return {"callback": lambda _, __, x: after.append(x)} if "callback" in takes else {}


def as_plain(latents: NDArray[np.float32], spec: RunSpec) -> NDArray[np.float32]:
    """Final latents in the form in which the library gives them."""
    return latents if spec.prompt else (latents / 2 + 0.5).clip(0, 1)


# --- and ours
# ----------------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def load(folder: Folder) -> DiffusionPipeline:
    return pipelines.load(folder, "float32", torch.device("cpu"))


@lru_cache(maxsize=1)
def prepare(spec: RunSpec) -> Prepared:
    scheduler = pipelines.build_scheduler(spec)
    picture = photo(spec.height, spec.width) if spec.photo else None
    return preparation.prepare(load(Folder(spec.model)), spec, scheduler, picture)


def sample(
    spec: RunSpec,
    lengths: Mapping[Path, int],
    history: Mapping[Path, Trajectory] | None = None,
    **settings: Any,
) -> tuple[dict[Path, Trajectory], int]:
    """These trajectories, and how many evaluations were made."""
    return record(spec, prepare(spec), lengths, history, **settings)


def resume(
    chosen: Mapping[str, Any], begun: Mapping[Path, bytes], lengths: Mapping[Path, int]
) -> tuple[dict[Path, bytes], int]:
    """Finish what another process began: trajectories as they are stored, and evaluations."""
    history = {path: from_bytes(value) for path, value in begun.items()}
    made, evaluated = sample(specify(**chosen), lengths, history)
    return {path: to_bytes(trajectory) for path, trajectory in made.items()}, evaluated


@contextmanager
def another_process() -> Iterator[Executor]:
    """A process that shares nothing with this one."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as executor:
        yield executor


def branches(spec: RunSpec) -> list[Path]:
    """Two siblings, a later fork, a fork of a fork, and of each other kind one and a fork of it."""
    early, late = (spec.fork_steps[len(spec.fork_steps) * i // 4] for i in (1, 3))
    written = [f"{early}.0", f"{early}.1", f"{late}.0", f"{early}.0/{late}.1"]
    back, change = f"{late}.0-{late - early}", f"{early}:prompt=blue+dog"
    written.append(back)
    if (last := spec.fork_steps[-1]) > late:
        written.append(f"{back}/{last}.1")
    if spec.prompt:
        written += [change, f"{change}/{late}.1"]
    return list(map(parse_path, written))


def least(path: Path, length: int) -> dict[Path, int]:
    """A path in full, its ancestors only as far as they are needed."""
    needed: dict[Path, int] = {path: length}
    for parent in ancestors(path):
        fork = path[len(parent)]
        needed[parent] = fork.step + (not fork.back and not fork.changes)
    return needed


def check(
    family: str,
    name: str,
    folder: Folder,
    executor: Executor | None = None,
    option: Mapping[str, Any] | None = None,
    strength: float | None = None,
) -> Cell:
    """Try one pair; without an executor what was begun is finished in this process. `option` is
    what else its pipeline is asked for, `strength` that of a photo to begin with.

    Raises:
        AssertionError: the pair makes no sense, but is not refused.
        DiffgridError: it is refused, but makes sense.
    """
    chosen = options(family, name, folder) | {"option": option or ""}
    if strength is not None:
        chosen |= beginning(strength, chosen.get("height", SIDE), chosen.get("width", SIDE))
    if reason := unsuited(family, name):
        try:
            sample(specify(**chosen), {(): 1})
        except DiffgridError:
            return Cell(refused=reason)
        raise AssertionError(f"{family} with {name} is not refused, but {reason}")
    spec = specify(**chosen)
    kind = kind_of(name, folder)
    first, second = (plain_diffusers(family, spec, kind, option) for _ in range(2))
    paths = branches(spec)
    together, evaluated = sample(spec, dict.fromkeys([(), *paths], spec.length))
    wasted = [evaluated - minimum([(), *paths], spec.length)]
    ends = {path: final(trajectory) for path, trajectory in together.items()}
    off = []
    for path in paths:
        lengths = least(path, spec.length)
        half = lengths | {path: (path[-1].step + spec.length) // 2 + 1}
        made, evaluated = sample(spec, half)
        begun = {p: to_bytes(trajectory) for p, trajectory in made.items()}
        do = executor.submit(resume, chosen, begun, lengths).result if executor else None
        resumed, more = do() if do else resume(chosen, begun, lengths)
        off.append(distance(final(from_bytes(resumed[path])), ends[path]))
        named = {(behind(p, step), step) for p, n in lengths.items() for step in range(n)}
        wasted.append(evaluated + more - len(named))
    return Cell(
        trunk=distance(as_plain(ends[()], spec), first) if np.array_equal(first, second) else None,
        branches=max(off),
        unchanged=unchanged(spec, ends[()]),
        renoised=renoised(spec, together),
        wasted=max(wasted, key=abs),
        shared=all(shares(path, together) for path in paths),
        differs=min(
            distance(ends[one], ends[other])
            for one in paths
            for other in ends
            if one != other and one[:-1] in (other, other[:-1])
        ),
    )


def unchanged(spec: RunSpec, trunk: NDArray[np.float32]) -> float:
    """How far the trunk is from what changes its guidance to what it was: the noise is its own."""
    if not spec.prompt:
        return 0.0
    step = spec.fork_steps[len(spec.fork_steps) // 2]
    path = parse_path(f"{step}:guidance={spec.guidance_scale}")
    return distance(final(sample(spec, least(path, spec.length))[0][path]), trunk)


def renoised(spec: RunSpec, made: Mapping[Path, Trajectory]) -> float:
    """How far a re-noise fork of the trunk is from the forward process with its keyed noise."""
    path = next(path for path in made if len(path) == 1 and path[0].back)
    trunk, branch, step = made[()], made[path], path[0].step
    target = step - path[0].back
    ratio = trunk.alphas[target] / trunk.alphas[step]
    fresh = (trunk.sigmas[target] ** 2 - (ratio * trunk.sigmas[step]) ** 2) ** 0.5
    generator = noise.keyed_generator(spec.seed, path, step, "back")
    xi = noise.noise_like(torch.zeros(1, *trunk.latents[step].shape), generator)[0].numpy()
    return distance(branch.latents[target], ratio * trunk.latents[step] + fresh * xi)


def shares(path: Path, made: Mapping[Path, Trajectory]) -> bool:
    """Whether all before it leaves its parent is its parent's own, to the last bit."""
    branch, parent, fork = made[path], made[path[:-1]], path[-1]
    left = fork.step - fork.back
    outputs = left + (not fork.back and not fork.changes)
    return np.array_equal(
        branch.latents[: left + (not fork.back)], parent.latents[: left + (not fork.back)]
    ) and np.array_equal(branch.model_outputs[:outputs], parent.model_outputs[:outputs])


def distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(np.abs(a - b).max())


# --- the tables
# ----------------------------------------------------------------------------------------


def markdown(head: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([name, *cells] for name, cells in rows.items())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def pairs() -> tuple[str, list[str]]:
    """The table of all pairs, and what failed."""
    cells: dict[str, list[str]] = {name: [] for name in NAMES}
    reasons: dict[str, dict[str, list[str]]] = {}
    failures = []
    with another_process() as executor, tempfile.TemporaryDirectory() as scratch:
        for family in tiny.FAMILIES:
            folder = tiny.save(Folder(scratch) / family, family=family)
            for name in NAMES:
                print(f"{family} with {name}", file=sys.stderr)
                try:
                    cell = check(family, name, folder, executor)
                except (AssertionError, DiffgridError) as error:
                    cells[name].append("**failed**")
                    failures.append(f"{family} with {name}: {error}")
                    continue
                failures += [f"{family} with {name}: {what}" for what in cell.failures]
                cells[name].append(f"**{cell}**" if cell.failures else str(cell))
                if cell.refused:
                    reasons.setdefault(cell.refused, {}).setdefault(family, []).append(name)
    table = markdown(["scheduler", *tiny.FAMILIES], cells)
    lines = []
    for reason, families in reasons.items():
        lines.append(f"- {reason[0].upper()}{reason[1:]}.")
        lines += [f"  - `{family}` with {', '.join(names)}" for family, names in families.items()]
    return "\n".join([table, "", "Refused (–):", "", *lines]), failures


def classes(names: Sequence[str] = tuple(zoo.CLASSES)) -> tuple[str, list[str]]:
    """The table of the classes that are only read, each with its folder's scheduler."""
    rows, failures = {}, []
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            print(name, file=sys.stderr)
            folder = save(Folder(scratch) / name, name)
            cell = check(name, OWN, folder)
            rows[name] = [kind_of(OWN, folder).name, str(cell)]
            failures += [f"{name}: {what}" for what in cell.failures]
    return markdown(["class", "scheduler", "trunk · branches"], rows), failures


def photos(only: Sequence[str] = ()) -> tuple[str, list[str]]:
    """The table of what begins with a photo, of these classes or all: Stable Diffusion with each
    scheduler, the others with their folder's; and what failed."""
    rows, failures = {}, []
    with tempfile.TemporaryDirectory() as scratch:
        for family, built in BUILT.items():
            pipeline = type(built.build()).__name__
            if pipeline not in IMAGE_TO_IMAGE or (only and pipeline not in only):
                continue
            folder = save(Folder(scratch) / family, family)
            for name in NAMES if family == "stable_diffusion" else (OWN,):
                if unsuited(family, name):
                    continue
                print(f"{family} with {name}, from a photo", file=sys.stderr)
                cell = check(family, name, folder, strength=STRENGTH)
                label = f"{IMAGE_TO_IMAGE[pipeline]}{f' ({family})' * (family in tiny.FAMILIES)}"
                kind = kind_of(name, folder).name
                rows[f"{label} | {kind}"] = [str(cell)]
                failures += [f"{label} with {kind}: {what}" for what in cell.failures]
    return markdown(["class | scheduler", "trunk · branches"], rows).replace(
        "| --- | --- |", "| --- | --- | --- |", 1
    ), failures


def truths() -> tuple[str, list[str]]:
    """What exact Gaussian data says of each scheduler, and what failed."""
    failures: list[str] = []
    rows = {}
    for name in gaussian.NAMES:
        print(f"Gaussian data with {name}", file=sys.stderr)
        if next(scheduler for scheduler in SCHEDULERS if scheduler.name == name).missing():
            continue
        cells = []
        for kind in gaussian.PREDICTION_TYPES:
            off = gaussian.error_of_pred_original_sample(name, kind)
            cells.append("–" if off is None else short(off))
            if off is not None and not off <= gaussian.CLOSE:
                failures.append(f"{name}: x̂0 from {kind} is off by {off}")
        trunk, *others = gaussian.spreads(name).items()
        cells.append(f"{trunk[1]:.3f}")
        for where, difference in others:
            cells.append(f"{difference:+.3f}")
            if not abs(difference) <= gaussian.SPREAD_TOLERANCE:
                failures.append(f"{name}: finals forked {where} spread by {difference:+} more")
        rows[name] = cells
    head = ["scheduler", *(f"x̂0 from {kind}" for kind in gaussian.PREDICTION_TYPES)]
    return markdown([*head, "σ of trunks", *gaussian.WHERE], rows), failures


def main(names: Sequence[str]) -> int:
    warnings.simplefilter("ignore")
    failed = []
    some = (
        partial(classes, [name for name in names if name in zoo.CLASSES]),
        partial(photos, names),
    )
    tables = some if names else (pairs, classes, photos, truths)
    for table, failures in (make() for make in tables):
        print(table, end="\n\n")
        failed += failures
    for failure in failed:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
