"""Forks and paths: which trajectory of a run is meant, and which evaluations trajectories share.

A *path* is a tuple of forks with strictly rising steps, and `()` is the trunk. A fork `(k, j)`
redraws the noise of the one transition k → k+1; its trajectory shares x_k, the scheduler's state
and the model's output at step k with its parent. So the evaluation at step i is named by the path's
forks before i, and i: trajectories that need one of the same name share it.

There are three more kinds of fork. *Stochastic* draws noise at every transition from k on, also if
the scheduler draws none. *Re-noise* goes back from x_k to the noise level of step k-m and denoises
from there again. *Change* keeps x_k and all noise, and goes on with another prompt or guidance.

    >>> path = parse_path("8.2/14.0")
    >>> format_path(fork(path, 10, 1))
    '8.2/10.1'
"""

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, urlencode

from diffgrid.errors import BadInput
from diffgrid.spec.checks import HARD, check_real, check_text, check_whole, rises, set_field, shown
from diffgrid.spec.schedulers import Loop


@dataclass(frozen=True, slots=True)
class Fork:
    """Where a path leaves its parent: at x_step.

    `branch` says which of the fresh noises. With `back` it is a re-noise fork by so many steps;
    with `stochastic` each transition that follows draws noise, under later forks too; with `prompt`
    or `guidance_scale` (None: as before) it is a change fork, whose branch is 0.
    """

    step: int
    branch: int
    back: int = 0
    prompt: str | None = None
    guidance_scale: float | None = None
    stochastic: bool = False

    def __post_init__(self) -> None:
        check_whole("the step of a fork", self.step, 0, HARD.max_steps)
        check_whole("the branch of a fork", self.branch, 0, HARD.max_branch)
        check_whole("the steps back of a fork", self.back, 0, self.step)
        if self.prompt is not None:
            check_text("prompt", self.prompt, HARD.max_prompt)
        if self.guidance_scale is not None:
            set_field(
                self, "guidance_scale", check_real("guidance", self.guidance_scale, 0, math.inf)
            )
        if self.changes and (self.branch or self.back):
            raise BadInput("a fork that changes the prompt or the guidance has branch 0.")
        if self.stochastic and (self.changes or self.back):
            raise BadInput("a fork that is stochastic neither goes back nor changes anything.")

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
            "stochastic": self.stochastic or None,
        }
        special = {name: value for name, value in special.items() if value is not None}
        return [self.step, self.branch, *([special] if special else [])]


Path = tuple[Fork, ...]


def parse_path(text: str) -> Path:
    """Read a path as people write it: `8.2/14.0`, or `trunk`.

    `8.2~` is stochastic from step 8 on; `12.0-3` goes back by 3 steps;
    `8:prompt=a+cat&guidance=3` changes one or both.

    Raises:
        BadInput: the text is no path, or its steps do not rise.
    """
    if len(text) > HARD.max_path:
        raise BadInput(f"path {shown(text)} is too long: use at most {HARD.max_path:,} characters.")
    if text in ("", "trunk"):
        return ()
    forks = tuple(_parse_fork(part) for part in text.split("/"))
    if None in forks or not rises([fork.step for fork in forks if fork]):
        raise BadInput(
            f"path {shown(text)} is not allowed: write trunk, or forks as step.branch with rising "
            "steps, such as 8.2/14.0."
        )
    return tuple(filter(None, forks))


def _parse_fork(text: str) -> Fork | None:
    # [0-9]: \d would take digits of every script; nine of them are plenty, and keep int() cheap.
    if plain := re.fullmatch(r"([0-9]{1,9})\.([0-9]{1,9})(?:-([1-9][0-9]{0,8})|(~))?", text):
        return Fork(
            int(plain[1]), int(plain[2]), int(plain[3] or 0), stochastic=plain[4] is not None
        )
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
        special = f"-{fork.back}" if fork.back else "~" if fork.stochastic else ""
        return f"{fork.step}.{fork.branch}{special}"
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
    if not rises([fork.step for fork in path]):
        raise BadInput(
            f"path {format_path(path)} is not allowed: the steps of its forks must rise."
        )
    for taken in path:
        if taken.step not in loop.fork_steps:
            late = taken.step > loop.length - 2
            raise BadInput(
                f"path {format_path(path)} forks at step {taken.step}, which is "
                f"{'too late' if late else 'not allowed'}: {choose(loop)}."
            )
        if taken.redrawn not in loop.fork_steps:
            raise BadInput(
                f"path {format_path(path)} goes back to step {taken.redrawn}, which is not "
                f"allowed: {choose(loop)}."
            )


def choose(loop: Loop) -> str:
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


@lru_cache(maxsize=200)  # each drawing of a grid asks for all of its paths
def evaluations_of(path: Path, length: int) -> tuple[tuple[Path, int], ...]:
    """The names of the evaluations that one trajectory consists of, by step."""
    return tuple((behind(path, step), step) for step in range(length))


def evaluations(length: int, paths: Collection[Path]) -> set[tuple[Path, int]]:
    """The names of all evaluations behind these trajectories: (what is behind step i, i).

    Re-noise goes back from x_k, which the parent has to reach first.
    """
    own = {name for path in paths for name in evaluations_of(path, length)}
    return own | {
        (behind(path[:depth], step), step)
        for path in paths
        for depth, fork in enumerate(path)
        for step in range(fork.redrawn, fork.step)
    }


def minimum(paths: Collection[Path], length: int) -> int:
    """How many evaluations these trajectories need when they share all they can."""
    return len(evaluations(length, paths))


def naive(paths: Collection[Path], length: int) -> int:
    """How many evaluations they would need one by one."""
    return sum(length + sum(fork.back for fork in path) for path in set(paths))
