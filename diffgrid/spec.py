"""The words everything else is written in: run specifications, forks, paths, grids, evaluations.

A *path* is a tuple of forks with strictly rising steps, and `()` is the trunk. A fork `(k, j)`
redraws the noise of the one transition k → k+1; its trajectory shares x_k, the scheduler's state
and the model's output at step k with its parent. So the evaluation at step i is named by the path's
forks before i, and i: trajectories that need one of the same name share it.

    >>> path = parse_path("8.2/14.0")
    >>> format_path(fork(path, 10, 1))
    '8.2/10.1'
"""

import hashlib
import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, Self

from diffgrid.errors import BadInput
from diffgrid.limits import Limits

SAMPLER_VERSION = (
    1  # raise it when the sampler's numbers change: every stored trajectory is then missed
)
DTYPES = ("float32", "bfloat16", "float16")

_HARD = Limits()


@dataclass(frozen=True, slots=True, order=True)
class Fork:
    """A fresh choice of noise for the transition step → step+1; `branch` says which."""

    step: int
    branch: int

    def __post_init__(self) -> None:
        _whole("the step of a fork", self.step, 0, _HARD.max_steps)
        _whole("the branch of a fork", self.branch, 0, _HARD.max_branch)


Path = tuple[Fork, ...]


def parse_path(text: str) -> Path:
    """Read a path as people write it: `8.2/14.0`, or `trunk`.

    Raises:
        BadInput: the text is no path, or its steps do not rise.
    """
    if text in ("", "trunk"):
        return ()
    # \d would take digits of every script; nine of them are plenty, and keep int() cheap.
    matches = [re.fullmatch(r"([0-9]{1,9})\.([0-9]{1,9})", part) for part in text.split("/")]
    forks = tuple(Fork(int(match[1]), int(match[2])) for match in matches if match)
    if len(forks) < len(matches) or not _rises([fork.step for fork in forks]):
        raise BadInput(
            f"path {_shown(text)} is not allowed: write trunk, or forks as step.branch with rising "
            "steps, such as 8.2/14.0."
        )
    return forks


def format_path(path: Path) -> str:
    """Write a path as people read it; `parse_path` takes it back."""
    return "/".join(f"{fork.step}.{fork.branch}" for fork in path) or "trunk"


def before(path: Path, step: int) -> Path:
    """The path's forks before `step`: all that x_step depends on."""
    return tuple(fork for fork in path if fork.step < step)


def fork(path: Path, step: int, branch: int) -> Path:
    """Fork a path: its forks before `step` are kept, `(step, branch)` is added, later ones go."""
    return (*before(path, step), Fork(step, branch))


def ancestors(path: Path) -> list[Path]:
    """All trajectories the path descends from, the trunk first."""
    return [path[:depth] for depth in range(len(path))]


def check_path(path: Path, length: int) -> None:
    """Check that a trajectory of `length` steps can have this path.

    Raises:
        BadInput: the steps do not rise, or one is past length-2. (The last transition ends at the
            final sample, and most schedulers add no noise there.)
    """
    if not _rises([fork.step for fork in path]):
        raise BadInput(
            f"path {format_path(path)} is not allowed: the steps of its forks must rise."
        )
    for taken in path:
        if taken.step > length - 2:
            raise BadInput(
                f"path {format_path(path)} forks at step {taken.step}, which is too late: "
                f"{_fork_steps(length)}."
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
    def length(self) -> int:
        """T, the steps of the loop: right for schedulers with one timestep an inference step."""
        return self.num_inference_steps

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
    forks = [[fork.step, fork.branch] for fork in path]
    text = _canonical({"specification": specification, "path": forks, "sampler": SAMPLER_VERSION})
    return hashlib.sha256(text.encode("ascii")).hexdigest()


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid to look at: the focus, and at each row's step the branches shown.

    Raises:
        BadInput: rows that do not rise or are past T-2, 0 or too many columns, repeated branches,
            or a focus that cannot be.
    """

    spec: RunSpec
    path: Path  # the focus
    rows: tuple[int, ...]  # steps
    branches: tuple[tuple[int, ...], ...]  # branch numbers, a tuple a row

    @classmethod
    def with_columns(cls, spec: RunSpec, path: Path, rows: Iterable[int], columns: int) -> Self:
        """A grid with branches 0 … columns-1 in every row; rows in any order."""
        _whole("columns", columns, 1, _HARD.max_columns)
        rows = tuple(sorted(rows))
        return cls(spec, path, rows, (tuple(range(columns)),) * len(rows))

    def __post_init__(self) -> None:
        check_path(self.path, self.spec.length)
        for row in self.rows:
            if type(row) is not int or not 0 <= row <= self.spec.length - 2:
                raise BadInput(
                    f"row {_shown(row)} is not allowed: {_fork_steps(self.spec.length)}."
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
        return (
            before(self.path, step)
            if Fork(step, branch) in self.path
            else fork(self.path, step, branch)
        )

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every distinct trajectory of the grid, the focus first."""
        return tuple(dict.fromkeys([self.path, *(path for row in self.cells for path in row)]))


def default_rows(length: int) -> tuple[int, ...]:
    """The fork steps shown when nobody chose: more of them early, where more is decided."""
    rows = {round(length * share) for share in (0.04, 0.2, 0.4, 0.64)}
    return tuple(sorted(row for row in rows if row <= length - 2))


def evaluations(length: int, paths: Iterable[Path]) -> set[tuple[Path, int]]:
    """The names of all evaluations behind these trajectories: (forks before step i, i)."""
    return {(before(path, step), step) for path in paths for step in range(length)}


def minimum(paths: Iterable[Path], length: int) -> int:
    """How many evaluations these trajectories need when they share all they can."""
    return len(evaluations(length, paths))


def naive(paths: Collection[Path], length: int) -> int:
    """How many evaluations they would need one by one."""
    return length * len(set(paths))


def _canonical(value: object) -> str:
    # Not allow_nan=False: DPM-Solver's own default is lambda_min_clipped = -Infinity.
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _canonical_config(text: str) -> str:
    try:
        config = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise BadInput(
            f"scheduler configuration {_shown(text)} is not allowed: give a JSON object."
        )
    return _canonical(config)


def _rises(steps: Sequence[int]) -> bool:
    return all(first < second for first, second in pairwise(steps))


def _set(spec: RunSpec, name: str, value: object) -> None:
    object.__setattr__(spec, name, value)


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


def _fork_steps(length: int) -> str:
    if length < 2:
        return f"{length} step leaves no room for a fork, so raise the steps"
    return f"with {length} steps, choose one from 0 to {length - 2}"


def _listed(numbers: Sequence[int]) -> str:
    return _shown(",".join(map(str, numbers)))


def _shown(value: object) -> str:
    text = ascii(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
