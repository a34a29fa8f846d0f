"""A grid: which branches of a path are shown, row by row."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from diffgrid.errors import BadInput
from diffgrid.limits import Limits
from diffgrid.spec.checks import HARD, check_whole, rises, shown
from diffgrid.spec.path import Path, before, check_path, choose, fork
from diffgrid.spec.run import RunSpec
from diffgrid.spec.schedulers import Loop

SHARES = (0.04, 0.2, 0.4, 0.64, 0.1, 0.3, 0.52, 0.8)  # of the way: where the first eight rows fork
USUAL_ROWS = 3  # of them: a fourth one's pictures are nearly all alike


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
        check_whole("columns", columns, 1, HARD.max_columns)
        rows = tuple(sorted(rows))
        return cls(spec, path, rows, (tuple(range(columns)),) * len(rows), back)

    def __post_init__(self) -> None:
        loop = self.spec.loop
        check_path(self.path, loop)
        check_whole("the steps back", self.back, 0, HARD.max_steps)
        for row in self.rows:
            if type(row) is not int or row not in loop.fork_steps:
                raise BadInput(f"row {shown(row)} is not allowed: {choose(loop)}.")
            if row - self.back not in loop.fork_steps:
                raise BadInput(
                    f"row {row} is not allowed with a re-noise by {self.back} steps, which ends at "
                    f"step {row - self.back}: {choose(loop)}."
                )
        if not rises(self.rows):
            raise BadInput(
                f"rows {_listed(self.rows)} are not allowed: give each step once, in rising order."
            )
        if len(self.branches) != len(self.rows):
            raise BadInput(
                f"branches are given for {len(self.branches)} rows, but there are {len(self.rows)}."
            )
        for row, numbers in zip(self.rows, self.branches, strict=True):
            for number in numbers:
                check_whole("a branch", number, 0, HARD.max_branch)
            if len(set(numbers)) < len(numbers):
                raise BadInput(
                    f"row {row} shows branches {_listed(numbers)}: give each branch once."
                )
        self.check(HARD)

    def check(self, limits: Limits) -> None:
        """Check the specification and the numbers of columns and cells against tighter limits.

        Raises:
            BadInput: a value is above its limit.
        """
        self.spec.check(limits)
        for numbers in self.branches:
            check_whole("columns", len(numbers), 1, limits.max_columns)
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
    """The fork steps shown when nobody chose: all of them early, where more is decided."""
    shares = SHARES[:USUAL_ROWS]
    return rows_near(loop, [round(loop.length * share) for share in shares], back)


def rows_near(loop: Loop, steps: Iterable[int], back: int = 0) -> tuple[int, ...]:
    """The fork steps nearest to these, of those from which one can go `back`; each once, rising."""
    possible = row_steps(loop, back)
    return tuple(sorted({nearest(possible, step) for step in steps})) if possible else ()


def row_steps(loop: Loop, back: int = 0) -> range:
    """The fork steps from which one can go `back`."""
    steps = loop.fork_steps
    return range(steps.start + back, steps.stop if back % steps.step == 0 else 0, steps.step)


def nearest(choices: range, value: int) -> int:
    """The one of these nearest to a value; found without looking at them all."""
    index = round((value - choices.start) / choices.step)
    return choices[min(max(index, 0), len(choices) - 1)]


def parse_fork_kind(text: str) -> int:
    """How many steps the cells of a grid go back: 0 of `fresh`, m of `renoise:m`.

    Raises:
        BadInput: it is neither.
    """
    found = re.fullmatch(r"fresh|renoise:([1-9][0-9]{0,3})", text)
    if not found:
        raise BadInput(
            f"fork {shown(text)} is not allowed: write fresh, or renoise: and the steps to go "
            "back, such as renoise:3."
        )
    return int(found[1] or 0)


def format_fork_kind(back: int) -> str:
    """Write it as people read it; `parse_fork_kind` takes it back."""
    return f"renoise:{back}" if back else "fresh"


def _listed(numbers: Iterable[int]) -> str:
    return shown(",".join(map(str, numbers)))
