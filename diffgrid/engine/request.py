"""What a job is asked for, and what of it is still to be made."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from diffgrid.errors import BadInput
from diffgrid.spec.path import Path, ancestors, check_path
from diffgrid.spec.run import RunSpec, key


@dataclass(frozen=True)
class Request:
    """Trajectories of one specification, the focus first.

    With `noisy` x_t is decoded too, with `exact` x̂0 by the full VAE where it is in previews. With
    `trust` the arrays of what is stored are neither read nor checked until they are needed, nor
    kept in memory when they are made.

    Raises:
        BadInput: there are no paths, or one forks too late.
    """

    spec: RunSpec
    paths: tuple[Path, ...]
    noisy: bool = False
    trust: bool = False
    exact: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "paths", tuple(dict.fromkeys(self.paths)))
        if not self.paths:
            raise BadInput("no paths were asked for: give at least one, such as trunk.")
        for path in self.paths:
            check_path(path, self.spec.loop)

    @cached_property
    def keys(self) -> dict[Path, str]:
        """The key of each path, and of its ancestors."""
        return {path: key(self.spec, path) for path in family(self.paths)}

    @property
    def identity(self) -> tuple[tuple[str, ...], bool, bool]:
        """Equal for identical requests."""
        return tuple(self.keys[path] for path in self.paths), self.noisy, self.exact


def family(paths: Iterable[Path]) -> tuple[Path, ...]:
    """These paths and all their ancestors, once each; nobody stands before an ancestor."""
    return tuple(dict.fromkeys(each for path in paths for each in (*ancestors(path), path)))


def steps_to_go(paths: Iterable[Path], length: int) -> dict[Path, int]:
    """How many steps each path must go: all T, an ancestor only as far as its last fork."""
    lengths: dict[Path, int] = {}
    for path in paths:
        for depth, fork in enumerate(path):
            # A fresh fork takes over the model's output at its step, the other kinds x_t alone.
            needed = max(fork.step, fork.evaluated)
            lengths[path[:depth]] = max(needed, lengths.get(path[:depth], 0))
        lengths[path] = length
    return lengths


def evaluations_left(lengths: Mapping[Path, int], known: Mapping[Path, int]) -> int:
    """How many evaluations have to be made to go `lengths`, where `known` steps are there."""
    born = {path: path[-1].evaluated if path else 0 for path in lengths}
    return sum(max(0, n - max(born[path], known.get(path, 0))) for path, n in lengths.items())
