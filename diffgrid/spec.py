"""The words everything else is written in: run specifications, forks, paths, grids, evaluations.

A *path* is a tuple of forks with strictly rising steps, and `()` is the trunk. A fork `(k, j)`
redraws the noise of the one transition k → k+1; its trajectory shares x_k, the scheduler's state
and the model's output at step k with its parent. So the evaluation at step i is named by the path's
forks before i, and i: trajectories that need one of the same name share it.

There are two more kinds of fork. *Re-noise* goes back from x_k to the noise level of step k-m and
denoises from there again. *Change* keeps x_k and all noise, and goes on with another prompt or
guidance.

    >>> path = parse_path("8.2/14.0")
    >>> format_path(fork(path, 10, 1))
    '8.2/10.1'
"""

import hashlib
import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode

from diffgrid.errors import BadInput
from diffgrid.limits import Limits
from diffgrid.schedulers import Loop, loop, stages_of

# Which version of the sampler made the numbers of a scheduler; raise it when they change: what is
# stored is then missed.
SAMPLER_VERSIONS = {"DPMSolverMultistepScheduler": 2, "UniPCMultistepScheduler": 2}
DTYPES = ("float32", "bfloat16", "float16")

_HARD = Limits()


@dataclass(frozen=True, slots=True)
class Fork:
    """Where a path leaves its parent: at x_step.

    `branch` says which of the fresh noises. With `back` it is a re-noise fork by so many steps;
    with `prompt` or `guidance_scale` (None: as before) a change fork, whose branch is 0.
    """

    step: int
    branch: int
    back: int = 0
    prompt: str | None = None
    guidance_scale: float | None = None

    def __post_init__(self) -> None:
        _whole("the step of a fork", self.step, 0, _HARD.max_steps)
        _whole("the branch of a fork", self.branch, 0, _HARD.max_branch)
        _whole("the steps back of a fork", self.back, 0, self.step)
        if self.prompt is not None:
            _text("prompt", self.prompt, _HARD.max_prompt)
        if self.guidance_scale is not None:
            _set(self, "guidance_scale", _real("guidance", self.guidance_scale, 0, math.inf))
        if self.changes and (self.branch or self.back):
            raise BadInput("a fork that changes the prompt or the guidance has branch 0.")

    @property
    def changes(self) -> bool:
        """Whether it goes on under other conditions, with the parent's own noise."""
        return self.prompt is not None or self.guidance_scale is not None

    @property
    def redrawn(self) -> int:
        """The first step whose transition is no longer the parent's."""
        return self.step - self.back

    @property
    def evaluated(self) -> int:
        """The first step whose evaluation is no longer the parent's."""
        return self.redrawn if self.back or self.changes else self.step + 1

    @property
    def words(self) -> list[Any]:
        """All that it is, ready for JSON."""
        special = {
            "back": self.back or None,
            "prompt": self.prompt,
            "guidance_scale": self.guidance_scale,
        }
        special = {name: value for name, value in special.items() if value is not None}
        return [self.step, self.branch, *([special] if special else [])]


Path = tuple[Fork, ...]


def parse_path(text: str) -> Path:
    """Read a path as people write it: `8.2/14.0`, or `trunk`.

    `12.0-3` goes back by 3 steps; `8:prompt=a+cat&guidance=3` changes one or both.

    Raises:
        BadInput: the text is no path, or its steps do not rise.
    """
    if text in ("", "trunk"):
        return ()
    forks = tuple(_parse_fork(part) for part in text.split("/"))
    if None in forks or not _rises([fork.step for fork in forks if fork]):
        raise BadInput(
            f"path {_shown(text)} is not allowed: write trunk, or forks as step.branch with rising "
            "steps, such as 8.2/14.0."
        )
    return tuple(filter(None, forks))


def _parse_fork(text: str) -> Fork | None:
    # [0-9]: \d would take digits of every script; nine of them are plenty, and keep int() cheap.
    if plain := re.fullmatch(r"([0-9]{1,9})\.([0-9]{1,9})(?:-([1-9][0-9]{0,8}))?", text):
        return Fork(int(plain[1]), int(plain[2]), int(plain[3] or 0))
    if change := re.fullmatch(r"([0-9]{1,9}):(.{1,30000})", text):
        try:
            words = dict(parse_qsl(change[2], keep_blank_values=True, max_num_fields=2))
        except ValueError:  # more fields than there are
            return None
        guidance = words.get("guidance", "0")
        number = re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,20})?(e[+-]?[0-9]{1,3})?", guidance)
        if words and number and words.keys() <= {"prompt", "guidance"}:
            scale = float(guidance) if "guidance" in words else None
            return Fork(int(change[1]), 0, prompt=words.get("prompt"), guidance_scale=scale)
    return None


def format_path(path: Path) -> str:
    """Write a path as people read it; `parse_path` takes it back."""
    return "/".join(map(_format_fork, path)) or "trunk"


def _format_fork(fork: Fork) -> str:
    if not fork.changes:
        return f"{fork.step}.{fork.branch}" + (f"-{fork.back}" if fork.back else "")
    words = {"prompt": fork.prompt, "guidance": fork.guidance_scale}
    return f"{fork.step}:" + urlencode({k: v for k, v in words.items() if v is not None})


def describe(path: Path) -> str:
    """A path for people alone: where it changes something, in words and shortened."""
    if not any(fork.changes for fork in path):
        return format_path(path)
    return " › ".join(_describe_fork(fork) for fork in path)


def _describe_fork(fork: Fork) -> str:
    if not fork.changes:
        return _format_fork(fork)
    words = []
    if fork.prompt is not None:
        prompt = " ".join(fork.prompt.split())
        short = prompt if len(prompt) <= 60 else f"{prompt[:57]}…"
        words.append(f"“{short}”" if prompt else "no prompt")
    if fork.guidance_scale is not None:
        words.append(f"guidance {fork.guidance_scale:g}")
    return f"from step {fork.step}: {', '.join(words)}"


def file_name(path: Path) -> str:
    """A path as part of a file's name."""
    return (
        "-".join(f"{fork.step}-changed" if fork.changes else _format_fork(fork) for fork in path)
        or "trunk"
    )


def before(path: Path, step: int) -> Path:
    """The path's forks before `step`: what stays when it is forked there."""
    return tuple(fork for fork in path if fork.step < step)


def fork(path: Path, step: int, branch: int, back: int = 0) -> Path:
    """Fork a path: its forks before `step` are kept, one is added, later ones go."""
    return (*before(path, step), Fork(step, branch, back))


def behind(path: Path, step: int) -> Path:
    """All of the path that its evaluation at `step` depends on."""
    depth = max((i + 1 for i, fork in enumerate(path) if fork.evaluated <= step), default=0)
    return path[:depth]


def in_effect(path: Path, step: int) -> Path:
    """All of the path that its transition step → step+1 depends on."""
    depth = max((i + 1 for i, fork in enumerate(path) if fork.redrawn <= step), default=0)
    return path[:depth]


def ancestors(path: Path) -> list[Path]:
    """All trajectories the path descends from, the trunk first."""
    return [path[:depth] for depth in range(len(path))]


def check_path(path: Path, loop: Loop) -> None:
    """Check that a trajectory of this loop can have this path.

    Raises:
        BadInput: the steps do not rise, or one is none of those, or none to go back to.
    """
    if not _rises([fork.step for fork in path]):
        raise BadInput(
            f"path {format_path(path)} is not allowed: the steps of its forks must rise."
        )
    for taken in path:
        if taken.step not in loop.fork_steps:
            late = taken.step > loop.length - 2
            raise BadInput(
                f"path {format_path(path)} forks at step {taken.step}, which is "
                f"{'too late' if late else 'not allowed'}: {_choose(loop)}."
            )
        if taken.redrawn not in loop.fork_steps:
            raise BadInput(
                f"path {format_path(path)} goes back to step {taken.redrawn}, which is not "
                f"allowed: {_choose(loop)}."
            )


@dataclass(frozen=True, slots=True)
class RunSpec:
    """All that decides a trunk. Equal specifications give equal trajectories.

    Raises:
        BadInput: a field is outside its range (`Limits()` has the upper ends).
    """

    model: str  # what people call it: a catalogue name or a folder; not part of the key
    digest: str  # sha256 of the weights, 64 hexadecimal digits
    prompt: str
    negative_prompt: str
    guidance_scale: float  # w of classifier-free guidance, 0 and up; 1 is none
    scheduler: str  # a diffusers class name
    scheduler_config: str  # JSON of the full configuration it is built with; made canonical here
    num_inference_steps: int
    eta: float | None  # of DDIM, 0 … 1; None for schedulers that have none
    seed: int
    height: int  # pixels
    width: int  # pixels
    dtype: str = "float32"  # the model runs in it; arrays are stored in float32 all the same

    def __post_init__(self) -> None:
        _set(self, "guidance_scale", _real("guidance", self.guidance_scale, 0, math.inf))
        if self.eta is not None:
            _set(self, "eta", _real("eta", self.eta, 0, 1))
        _text("model", self.model, _HARD.max_prompt)
        if not re.fullmatch(r"[0-9a-f]{64}", _text("digest", self.digest, 64)):
            raise BadInput(
                f"digest {_shown(self.digest)} is not allowed: give 64 hexadecimal digits."
            )
        if not _text("scheduler", self.scheduler, 100).isidentifier():
            raise BadInput(
                f"scheduler {_shown(self.scheduler)} is not allowed: give a diffusers class name."
            )
        _set(self, "scheduler_config", _canonical_config(self.scheduler_config))
        if self.dtype not in DTYPES:
            raise BadInput(
                f"dtype {_shown(self.dtype)} is not allowed: choose one of {', '.join(DTYPES)}."
            )
        self.check(_HARD)

    def check(self, limits: Limits) -> None:
        """Check the fields that limits bound; construction has done it for `Limits()`.

        Raises:
            BadInput: a field is above its limit.
        """
        _text("prompt", self.prompt, limits.max_prompt)
        _text("negative prompt", self.negative_prompt, limits.max_prompt)
        _whole("steps", self.num_inference_steps, 1, limits.max_steps)
        _whole("seed", self.seed, 0, limits.max_seed)
        for side, pixels in (("height", self.height), ("width", self.width)):
            _whole(side, pixels, 8, limits.max_side)
            if pixels % 8:
                raise BadInput(f"{side} {pixels} is not allowed: use a multiple of 8 pixels.")

    @property
    def loop(self) -> Loop:
        """The steps that its scheduler makes."""
        return loop(self.scheduler, self.scheduler_config, self.num_inference_steps)

    @property
    def length(self) -> int:
        """T, the steps of the loop: not `num_inference_steps` where one takes two evaluations."""
        return self.loop.length

    @property
    def fork_steps(self) -> range:
        """The steps at which a trajectory can be forked."""
        return self.loop.fork_steps

    @property
    def stages(self) -> int:
        """How many steps of the loop belong together."""
        return stages_of(self.scheduler, self.scheduler_config)

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Take back what `to_dict` gave.

        Raises:
            BadInput: a field is missing, unknown, of another type or outside its range.
        """
        names = {field.name for field in fields(cls)}
        if wrong := names ^ values.keys():
            raise BadInput(
                f"a run specification lacks or does not know {_shown(', '.join(map(str, wrong)))}: "
                f"give exactly {', '.join(sorted(names))}."
            )
        return cls(**values)


def key(spec: RunSpec, path: Path) -> str:
    """The name a trajectory is stored under: sha256 over all that decides its numbers, 64 digits.

    The model counts by the digest of its weights: its name may differ from machine to machine.
    """
    specification = spec.to_dict()
    del specification["model"]
    forks = [fork.words for fork in path]
    version = SAMPLER_VERSIONS.get(spec.scheduler, 1)
    text = _canonical({"specification": specification, "path": forks, "sampler": version})
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def conditions(spec: RunSpec, path: Path) -> RunSpec:
    """The specification whose prompt and guidance a path ends under: its changes applied."""
    for fork in path:
        spec = replace(
            spec,
            prompt=spec.prompt if fork.prompt is None else fork.prompt,
            guidance_scale=(
                spec.guidance_scale if fork.guidance_scale is None else fork.guidance_scale
            ),
        )
    return spec


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid to look at: the focus, and at each row's step the branches shown.

    With `back` its cells are re-noise forks by so many steps.

    Raises:
        BadInput: rows that do not rise or cannot be forked at, 0 or too many columns, repeated
            branches, or a focus that cannot be.
    """

    spec: RunSpec
    path: Path  # the focus
    rows: tuple[int, ...]  # steps
    branches: tuple[tuple[int, ...], ...]  # branch numbers, a tuple a row
    back: int = 0

    @classmethod
    def with_columns(
        cls, spec: RunSpec, path: Path, rows: Iterable[int], columns: int, back: int = 0
    ) -> Self:
        """A grid with branches 0 … columns-1 in every row; rows in any order."""
        _whole("columns", columns, 1, _HARD.max_columns)
        rows = tuple(sorted(rows))
        return cls(spec, path, rows, (tuple(range(columns)),) * len(rows), back)

    def __post_init__(self) -> None:
        loop = self.spec.loop
        check_path(self.path, loop)
        _whole("the steps back", self.back, 0, _HARD.max_steps)
        for row in self.rows:
            if type(row) is not int or row not in loop.fork_steps:
                raise BadInput(f"row {_shown(row)} is not allowed: {_choose(loop)}.")
            if row - self.back not in loop.fork_steps:
                raise BadInput(
                    f"row {row} is not allowed with a re-noise by {self.back} steps, which ends at "
                    f"step {row - self.back}: {_choose(loop)}."
                )
        if not _rises(self.rows):
            raise BadInput(
                f"rows {_listed(self.rows)} are not allowed: give each step once, in rising order."
            )
        if len(self.branches) != len(self.rows):
            raise BadInput(
                f"branches are given for {len(self.branches)} rows, but there are {len(self.rows)}."
            )
        for row, numbers in zip(self.rows, self.branches, strict=True):
            for number in numbers:
                _whole("a branch", number, 0, _HARD.max_branch)
            if len(set(numbers)) < len(numbers):
                raise BadInput(
                    f"row {row} shows branches {_listed(numbers)}: give each branch once."
                )
        self.check(_HARD)

    def check(self, limits: Limits) -> None:
        """Check the specification and the numbers of columns and cells against tighter limits.

        Raises:
            BadInput: a value is above its limit.
        """
        self.spec.check(limits)
        for numbers in self.branches:
            _whole("columns", len(numbers), 1, limits.max_columns)
        if (cells := sum(map(len, self.branches))) > limits.max_cells:
            raise BadInput(
                f"a grid of {cells:,} cells is too large: use at most {limits.max_cells:,}, with "
                "fewer rows or columns."
            )

    @property
    def cells(self) -> tuple[tuple[Path, ...], ...]:
        """The path in each cell, row by row.

        A row at step k shows the focus's siblings there: the branches (k, j) of the focus's forks
        before k. Where the focus itself is branch j, that slot shows the path it left instead.
        """
        return tuple(
            tuple(self._cell(row, number) for number in numbers)
            for row, numbers in zip(self.rows, self.branches, strict=True)
        )

    def _cell(self, step: int, branch: int) -> Path:
        path = fork(self.path, step, branch, self.back)
        return before(self.path, step) if path[-1] in self.path else path

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every distinct trajectory of the grid, the focus first."""
        return tuple(dict.fromkeys([self.path, *(path for row in self.cells for path in row)]))


def default_rows(loop: Loop, back: int = 0) -> tuple[int, ...]:
    """The fork steps shown when nobody chose: more of them early, where more is decided."""
    wanted = [round(loop.length * share) for share in (0.04, 0.2, 0.4, 0.64)]
    return rows_near(loop, [step for step in wanted if step <= loop.length - 2], back)


def rows_near(loop: Loop, steps: Iterable[int], back: int = 0) -> tuple[int, ...]:
    """The fork steps nearest to these, of those from which one can go `back`; each once, rising."""
    possible = row_steps(loop, back)
    if not possible:
        return ()
    return tuple(sorted({nearest(possible, step) for step in steps}))


def nearest(choices: range, value: int) -> int:
    """The one of these nearest to a value; found without looking at them all."""
    index = round((value - choices.start) / choices.step)
    return choices[min(max(index, 0), len(choices) - 1)]


def row_steps(loop: Loop, back: int = 0) -> range:
    """The fork steps from which one can go `back`."""
    steps = loop.fork_steps
    return range(steps.start + back, steps.stop if back % steps.step == 0 else 0, steps.step)


def parse_fork_kind(text: str) -> int:
    """How many steps the cells of a grid go back: 0 of `fresh`, m of `renoise:m`.

    Raises:
        BadInput: it is neither.
    """
    found = re.fullmatch(r"fresh|renoise:([1-9][0-9]{0,3})", text)
    if not found:
        raise BadInput(
            f"fork {_shown(text)} is not allowed: write fresh, or renoise: and the steps to go "
            "back, such as renoise:3."
        )
    return int(found[1] or 0)


def format_fork_kind(back: int) -> str:
    """Write it as people read it; `parse_fork_kind` takes it back."""
    return f"renoise:{back}" if back else "fresh"


def evaluations(length: int, paths: Iterable[Path]) -> set[tuple[Path, int]]:
    """The names of all evaluations behind these trajectories: (what is behind step i, i)."""
    return {(behind(path, step), step) for path in paths for step in range(length)}


def minimum(paths: Iterable[Path], length: int) -> int:
    """How many evaluations these trajectories need when they share all they can."""
    return len(evaluations(length, paths))


def naive(paths: Collection[Path], length: int) -> int:
    """How many evaluations they would need one by one."""
    return length * len(set(paths))


def _canonical(value: object) -> str:
    # Not allow_nan=False: DPM-Solver's own default is lambda_min_clipped = -Infinity.
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _canonical_config(text: object) -> str:
    config = _canonical_object(text) if isinstance(text, str) else None
    if config is None:
        raise BadInput(
            f"scheduler configuration {_shown(text)} is not allowed: give a JSON object."
        )
    return config


@lru_cache(maxsize=256)  # often a thousand betas, asked for with each link on a page
def _canonical_object(text: str) -> str | None:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return _canonical(config) if isinstance(config, dict) else None


def _rises(steps: Sequence[int]) -> bool:
    return all(first < second for first, second in pairwise(steps))


def _set(frozen: object, name: str, value: object) -> None:
    object.__setattr__(frozen, name, value)


def _whole(field: str, value: object, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:  # not isinstance: True is no number here
        raise BadInput(
            f"{field} {_shown(value)} is not allowed: use a whole number from {low} to {high}."
        )


def _real(field: str, value: Any, low: float, high: float) -> float:
    # 3 and 3.0 must have one key, -0.0 and 0.0 too: hence float() and + 0.0.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and low <= value <= high and value < math.inf:  # false for NaN
        return float(value) + 0.0
    allowed = f"from {low} to {high}" if high < math.inf else f"of {low} or more"
    raise BadInput(f"{field} {_shown(value)} is not allowed: use a number {allowed}.")


def _text(field: str, value: object, longest: int) -> str:
    if not isinstance(value, str):
        raise BadInput(f"{field} {_shown(value)} is not allowed: use text.")
    if len(value) > longest:
        raise BadInput(
            f"{field} has {len(value):,} characters, which is too long: use at most {longest:,}."
        )
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise BadInput(f"{field} {_shown(value)} is not valid Unicode: type it again as UTF-8.")
    return value


def _choose(loop: Loop) -> str:
    """What can be chosen to fork at, as the end of a sentence."""
    length, steps = loop.length, loop.fork_steps
    if not steps:
        leave = "step leaves" if length == 1 else "steps leave"
        return f"{length} {leave} no room for a fork, so raise the steps"
    chosen = f"with {length} steps, choose one from {steps[0]} to {steps[-1]}"
    if steps.step > 1:
        chosen += f" in steps of {steps.step}, where this scheduler begins a step of its own"
    elif steps.start:
        chosen += ", since this scheduler corrects the first ones afterwards"
    return chosen


def _listed(numbers: Sequence[int]) -> str:
    return _shown(",".join(map(str, numbers)))


def _shown(value: object) -> str:
    text = ascii(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
