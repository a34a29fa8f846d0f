"""Calls of a network that meet: evaluated as one batch, and each is given its own part.

Which axes of its arguments grow with the number of pictures is learnt from the pipeline, called for
one picture and for two. With guidance the rows of n calls lie as u1 … un, c1 … cn.
"""

import dataclasses
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn

from diffgrid.sampling import cpu_parallel

Axes = list[int | None]  # of each leaf the axis that grows; None is one for all pictures


@dataclass(frozen=True, eq=False)
class Call:
    """A network about to be called, or a method of it."""

    network: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    method: str = "__call__"

    @cached_property
    def leaves(self) -> list[Any]:
        """What it is given, all nesting undone."""
        found: list[Any] = []
        mapped((self.args, self.kwargs), found.append)
        return found

    @cached_property
    def shape(self) -> Hashable:
        """What calls have in common that may be merged, in words: their structure and sizes."""
        return str(mapped((self.args, self.kwargs), _size))

    def __call__(self) -> Any:
        return getattr(self.network, self.method)(*self.args, **self.kwargs)


def grown(one: Call, two: Call) -> Axes | None:
    """Where the arguments of a call for two pictures are twice those for one; None where that
    cannot be said."""
    pairs = list(zip(one.leaves, two.leaves, strict=False))
    if len(one.leaves) != len(two.leaves):
        return None
    axes: Axes = []
    for single, double in pairs:
        if not (torch.is_tensor(single) and torch.is_tensor(double)):
            axes.append(None)
            continue
        sizes = enumerate(zip(single.shape, double.shape, strict=False))
        differ = [axis for axis, (here, there) in sizes if here != there]
        if single.ndim != double.ndim or len(differ) > 1:
            return None
        if differ and double.shape[differ[0]] != 2 * single.shape[differ[0]]:
            return None
        axes.append(differ[0] if differ else None)
    return axes


def evaluate(calls: Sequence[Call], axes_of: Callable[[Call], Axes | None], rows: int) -> list[Any]:
    """The output of each call, those that can be merged evaluated together, at most `rows`."""
    outputs: dict[int, Any] = {}  # by the place of the call
    for group, axes in _groups(calls, axes_of):
        for start in range(0, len(group), rows):
            some = group[start : start + rows]
            together = [calls[index] for index in some]
            first = together[0]
            made = cpu_parallel.run(first.network, partial(_merged, axes), together, first.shape)
            outputs |= zip(some, made, strict=True)
    return [outputs[index] for index in range(len(calls))]


def _groups(
    calls: Sequence[Call], axes_of: Callable[[Call], Axes | None]
) -> Iterator[tuple[list[int], Axes]]:
    """Which calls go together, by their places: of one shape, and equal in what is one for all."""
    left = list(range(len(calls)))
    while left:
        first = calls[left[0]]
        alike = [index for index in left[1:] if _alike(calls[index], first)]
        axes = axes_of(first) if alike else None
        if axes is not None:
            shared = [place for place, axis in enumerate(axes) if axis is None]
            alike = [index for index in alike if _agree(first.leaves, calls[index].leaves, shared)]
        group = [left[0], *(alike if axes is not None else ())]
        left = [index for index in left if index not in group]
        yield group, axes or []


def _alike(one: Call, other: Call) -> bool:
    same = one.network is other.network and one.method == other.method
    return same and one.shape == other.shape


def _agree(one: list[Any], other: list[Any], places: Sequence[int]) -> bool:
    return all(_same(one[place], other[place]) for place in places)


def equal(one: Call, other: Call) -> bool:
    """Whether two calls are the same, tensors to the bit."""
    return _alike(one, other) and _agree(one.leaves, other.leaves, range(len(one.leaves)))


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if torch.is_tensor(one) and torch.is_tensor(other):
        return torch.equal(one, other)
    return not (torch.is_tensor(one) or torch.is_tensor(other)) and bool(one == other)


def _merged(axes: Axes, calls: Sequence[Call]) -> list[Any]:
    n = len(calls)
    if n == 1:
        return [calls[0]()]
    places = zip(axes, *(call.leaves for call in calls), strict=True)
    merged = (
        first if axis is None else _interleaved(axis, first, *rest) for axis, first, *rest in places
    )
    args, kwargs = mapped((calls[0].args, calls[0].kwargs), lambda _: next(merged))
    output = replace(calls[0], args=args, kwargs=kwargs)()
    return [on_tensors(output, itemgetter(slice(j, None, n))) for j in range(n)]


def _interleaved(axis: int, *tensors: Tensor) -> Tensor:
    return torch.stack(tensors, axis + 1).flatten(axis, axis + 1)


def mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """A value of nested containers with what they hold replaced, in their order."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return type(value)(**{name: mapped(held, function) for name, held in fields.items()})
    if isinstance(value, Mapping):
        return {name: mapped(held, function) for name, held in value.items()}
    if isinstance(value, tuple | list):
        return type(value)([mapped(held, function) for held in value])
    return function(value)


def on_tensors(value: Any, function: Callable[[Tensor], Any]) -> Any:
    """A value of nested containers with each of its tensors replaced."""
    return mapped(value, lambda held: function(held) if torch.is_tensor(held) else held)


def by_rows(call: Call) -> Any:
    """The output of a call for several pictures: each row by itself, merged as calls that meet."""
    rows = next(len(leaf) for leaf in call.leaves if torch.is_tensor(leaf))
    axes: Axes = [0 if torch.is_tensor(leaf) else None for leaf in call.leaves]
    one = [
        on_tensors((call.args, call.kwargs), itemgetter(slice(row, row + 1))) for row in range(rows)
    ]
    calls = [replace(call, args=args, kwargs=kwargs) for args, kwargs in one]
    outputs = evaluate(calls, lambda _: axes, rows)
    whole = (torch.cat(parts) for parts in zip(*map(tensors_in, outputs), strict=True))
    return on_tensors(outputs[0], lambda _: next(whole))


def tensors_in(value: Any) -> list[Tensor]:
    """Those of nested containers, in their order."""
    found: list[Tensor] = []
    on_tensors(value, found.append)
    return found


def _size(leaf: Any) -> Any:
    return (tuple(leaf.shape), str(leaf.dtype)) if torch.is_tensor(leaf) else "-"
