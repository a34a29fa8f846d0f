"""What somebody looks at, and every change of it."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Self

from diffgrid.errors import BadInput
from diffgrid.limits import Limits
from diffgrid.models.registry import find_model, loop_of, scheduler_name, specify
from diffgrid.spec.checks import shown
from diffgrid.spec.grid import SHARES, Grid, default_rows, nearest, row_steps, rows_near
from diffgrid.spec.options import FIRST_MODEL, OPTIONS, SEED, added
from diffgrid.spec.path import Fork, Path, ancestors, before, format_path
from diffgrid.spec.pipeline_options import parse_options
from diffgrid.spec.run import RunSpec, conditions
from diffgrid.spec.schedulers import Loop

COLUMNS = 4
Rows = tuple[tuple[int, tuple[int, ...]], ...]  # (step, its branches)


@dataclass(frozen=True, slots=True)
class View:
    """A grid as people ask for it: run options by their keyword names, rows, and the path in view.

    Every change makes another view; none of them checks limits, `grid` does.
    """

    model: str
    prompt: str
    negative_prompt: str
    seed: int
    scheduler: str | None  # None is the model's own
    steps: int
    guidance: float
    eta: float | None  # None where the scheduler takes none
    height: int | None  # None is what the model was trained for
    width: int | None
    rows: Rows
    path: Path = ()
    added: tuple[tuple[str, Any], ...] = ()  # options with no field here, if not at their default
    back: int = 0  # steps that the cells' forks go back; 0 are fresh forks

    @classmethod
    def default(cls, model: str = FIRST_MODEL) -> Self:
        """What a model shows when nobody chose anything."""
        spec = specify(model=model)
        return cls(
            model=model,
            prompt=spec.prompt,
            negative_prompt="",
            seed=SEED,
            scheduler=None,
            steps=spec.num_inference_steps,
            guidance=spec.guidance_scale,
            eta=spec.eta,
            height=None,
            width=None,
            rows=plain_rows(default_rows(spec.loop), COLUMNS),
        )

    @classmethod
    def of(cls, grid: Grid) -> Self:
        """The view of a grid that was asked for otherwise: what is its model's own is left so.

        Where that is not on this machine nothing is, as nobody here knows.
        """
        spec, own = grid.spec, None
        with suppress(BadInput):
            own = specify(model=spec.model, steps=1)
        usual = own is not None and (own.scheduler, own.scheduler_config) == (
            spec.scheduler,
            spec.scheduler_config,
        )
        return cls(
            model=spec.model,
            prompt=spec.prompt,
            negative_prompt=spec.negative_prompt,
            seed=spec.seed,
            scheduler=None if usual else scheduler_name(spec),
            steps=spec.num_inference_steps,
            guidance=spec.guidance_scale,
            eta=spec.eta,
            height=None if own and spec.height == own.height else spec.height,
            width=None if own and spec.width == own.width else spec.width,
            rows=tuple(zip(grid.rows, grid.branches, strict=True)),
            path=grid.path,
            added=tuple(sorted(spec.chosen.items())),
            back=grid.back,
        )

    @classmethod
    def of_one(cls, spec: RunSpec, path: Path = ()) -> Self:
        """The view of one trajectory: its grid has the rows that nobody chose."""
        return cls.of(Grid.with_columns(spec, path, default_rows(spec.loop), COLUMNS))

    @property
    def spec(self) -> RunSpec:
        """The full specification.

        Raises:
            BadInput: an option is unknown or out of range, or does not go with the others.
        """
        return specify(**self.options)

    @property
    def options(self) -> dict[str, Any]:
        """The options of the run that an address says, by name."""
        added = dict(self.added)
        return {
            option.name: added.get(option.name, option.default)
            if option.added
            else getattr(self, option.name)
            for option in OPTIONS
            if option.addressed
        }

    @property
    def loop(self) -> Loop:
        """Its steps, and where they can be forked."""
        strength = self.options["strength"] if self.options["image"] else None
        return loop_of(self.model, self.scheduler, self.steps, strength)

    @property
    def can_change(self) -> bool:
        """Whether its model has a prompt and a guidance that can change on the way."""
        return find_model(self.model).family.prompted

    def grid(self, limits: Limits | None = None) -> Grid:
        """The grid it asks for.

        Raises:
            BadInput: an option or a row is not allowed, or above the limits.
        """
        limits, loop = limits or Limits.from_environment(), self.loop
        if limits.public:
            self._check_stranger()
        possible = backs(loop)
        if self.back and self.back not in possible:
            most = (
                f"use renoise:{possible[0]} to renoise:{possible[-1]}" if possible else "use fresh"
            )
            raise BadInput(
                f"fork renoise:{self.back} is not allowed with {loop.length} steps: {most}."
            )
        steps, branches = tuple(zip(*self.rows, strict=True)) or ((), ())
        grid = Grid(self.spec, self.path, steps, branches, self.back)
        grid.check(limits)
        if not self.can_change and any(fork.changes for fork in self.path):
            raise BadInput(
                f"path {format_path(self.path)[:60]!r} is not allowed: model {self.model!r} has no "
                "prompt and no guidance that could change."
            )
        for path in (*ancestors(self.path), self.path):
            conditions(grid.spec, path).check(limits)
        return grid

    def _check_stranger(self) -> None:
        """Refuse what costs more than limits count, before anybody looks for it."""
        if lora := self.options["lora"]:
            raise BadInput(f"lora {shown(lora)} is not allowed on a public server: leave it out.")
        if "max_sequence_length" in parse_options(self.options["option"]):
            raise BadInput(
                "option max_sequence_length is not allowed on a public server: leave it out."
            )

    @property
    def columns(self) -> int:
        """Cells in the widest row."""
        return max((len(branches) for _, branches in self.rows), default=COLUMNS)

    # Another run: it begins at its own trunk.

    def with_options(self, **changes: Any) -> "View":
        """Other options; rows keep their share of the way, the path is the trunk."""
        known = added()
        fields = {name: value for name, value in changes.items() if name not in known}
        others = dict(self.added) | {name: changes[name] for name in changes.keys() & known}
        kept = sorted(name for name in others if others[name] != known[name].default)
        changed = replace(self, **fields, added=tuple((n, others[n]) for n in kept), path=())
        if changed.scheduler != self.scheduler and "eta" not in changes:
            changed = replace(changed, eta=_own_eta(changed))
        if changed.loop != self.loop:
            possible = backs(changed.loop)
            back = nearest(possible, self.back) if self.back and possible else 0
            changed = replace(changed, back=back)._with_rows_of(self)
        return changed

    def with_fork_kind(self, back: int) -> "View":
        """Cells that go back so many steps; rows move to where that can be."""
        return replace(self, back=back)._with_rows_of(self)

    def _with_rows_of(self, old: "View") -> "View":
        """The old rows at their share of the way, or the new default in place of the old one."""
        if old.rows == plain_rows(default_rows(old.loop, old.back), old.columns):
            rows = plain_rows(default_rows(self.loop, self.back), old.columns)
        else:
            rows = _stretched(old.rows, old.loop, self.loop, self.back)
        return replace(self, rows=rows)

    def with_shape(self, rows: int, columns: int) -> "View":
        """So many rows, spread anew, of so many columns."""
        loop = self.loop
        steps = list(rows_near(loop, [round(loop.length * s) for s in SHARES[:rows]], self.back))
        possible = (step for step in row_steps(loop, self.back) if step not in steps)
        steps += [step for step, _ in zip(possible, range(rows - len(steps)), strict=False)]
        return replace(self, rows=plain_rows(sorted(steps), columns))

    def with_steps(self, steps: Iterable[int]) -> "View":
        """Rows at these steps."""
        return replace(self, rows=plain_rows(steps, self.columns))

    # The same run, seen otherwise: what was sampled stays.

    def follow(self, path: Path) -> "View":
        """Another trajectory becomes the trunk in view."""
        return replace(self, path=path)

    def change(self, step: int, prompt: str | None, guidance: float | None) -> "View":
        """The trunk in view, from x_step on under another prompt or guidance; None leaves it.

        Raises:
            BadInput: neither is another, or one is not allowed.
        """
        kept = before(self.path, step)
        now = conditions(self.spec, kept)
        other = Fork(
            step,
            0,
            prompt=None if prompt == now.prompt else prompt,
            guidance_scale=None if guidance == now.guidance_scale else guidance,
        )
        if not other.changes:
            raise BadInput(
                f"nothing changes at step {step}: write another prompt, or choose another guidance."
            )
        return self.follow((*kept, other))

    def reroll_row(self, step: int) -> "View":
        """Fresh branches for one row."""
        return self._with_row(step, lambda old: tuple(range(_fresh(old), _fresh(old) + len(old))))

    def reroll_cell(self, step: int, branch: int) -> "View":
        """A fresh branch in one cell."""
        return self._with_row(
            step, lambda old: tuple(_fresh(old) if j == branch else j for j in old)
        )

    def add_row(self, step: int) -> "View":
        """One more row; a step that has one stays as it is."""
        if step in dict(self.rows):
            return self
        added = (step, tuple(range(self.columns)))
        return replace(self, rows=tuple(sorted((*self.rows, added))))

    def drop_row(self, step: int) -> "View":
        """One row less; the last one stays."""
        left = tuple(row for row in self.rows if row[0] != step)
        return replace(self, rows=left or self.rows)

    def add_column(self) -> "View":
        """One more branch in every row."""
        return replace(self, rows=tuple((step, (*js, _fresh(js))) for step, js in self.rows))

    def drop_column(self) -> "View":
        """One branch less in every row; the last one stays."""
        return replace(self, rows=tuple((step, js[:-1] or js) for step, js in self.rows))

    def _with_row(self, step: int, change: Callable[[tuple[int, ...]], tuple[int, ...]]) -> "View":
        return replace(
            self, rows=tuple((k, change(js) if k == step else js) for k, js in self.rows)
        )


def backs(loop: Loop) -> range:
    """How many steps a re-noise fork can go back."""
    steps = loop.fork_steps
    return range(steps.step, len(steps) * steps.step, steps.step)


def plain_rows(steps: Iterable[int], columns: int) -> Rows:
    """Rows of branches 0 … columns-1."""
    return tuple((step, tuple(range(columns))) for step in steps)


def _stretched(rows: Rows, old: Loop, new: Loop, back: int) -> Rows:
    moved = {}
    for step, branches in rows:
        for near in rows_near(new, [round(step * new.length / max(1, old.length))], back):
            moved[near] = branches
    return tuple(sorted(moved.items()))


def _fresh(branches: tuple[int, ...]) -> int:
    return max(branches, default=-1) + 1


def _own_eta(view: View) -> float | None:
    """The model's eta, where the scheduler takes one."""
    return specify(model=view.model, scheduler=view.scheduler, steps=1).eta
