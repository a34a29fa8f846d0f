"""A batch over the cores of a CPU, laid out in the way that was just seen to be fastest.

Threads inside an operation gain little where operations are small. On two cores one guided pair of
the bundled model took 39 ms with two threads and 29 with one; sixteen took 10.7 ms each with two
threads, and less as two halves side by side. With a large model it is the other way round. So each
way is tried once for each size of batch; from then on the fastest is used, measured as it runs.
"""

import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate, pairwise
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn

T = TypeVar("T")
R = TypeVar("R")
Function = Callable[[Sequence[T]], Sequence[R]]

COUNT = torch.get_num_threads()  # once: setting it in a worker changes what new threads see


@dataclass(frozen=True)
class Layout:
    """A batch in so many parts side by side, each with so many threads."""

    parts: int
    threads: int


def layouts(rows: int, cores: int) -> list[Layout]:
    """The ways worth trying for a batch of `rows`."""
    parts = min(rows, cores)
    found = [Layout(1, cores), Layout(parts, 1), Layout(parts, cores // parts)]
    return list(dict.fromkeys(found))


@dataclass
class Cores:
    """Runs a function of a batch; remembers how long each layout took, for each shape of batch."""

    count: int = COUNT
    seconds: dict[tuple[Hashable, Layout], float] = field(default_factory=dict)

    def run(self, function: Function[T, R], batch: Sequence[T], shape: Hashable = None) -> list[R]:
        """function(batch), the batch cut as is fastest for as many rows of this shape."""
        kind = len(batch), shape
        choices = layouts(len(batch), self.count)
        layout = min(choices, key=lambda choice: self.seconds.get((kind, choice), 0.0))
        began = time.perf_counter()
        each, more = divmod(len(batch), layout.parts)
        ends = list(accumulate(each + (part < more) for part in range(layout.parts)))
        parts = [batch[begin:end] for begin, end in pairwise([0, *ends])]
        outputs = _pool().map(lambda part: _run(function, part, layout.threads), parts)
        made = [row for output in outputs for row in output]
        self.seconds[kind, layout] = time.perf_counter() - began
        return made


@torch.inference_mode()
def _run(function: Function[T, R], part: Sequence[T], threads: int) -> Sequence[R]:
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)  # of this worker alone
    return function(part)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(COUNT, thread_name_prefix="diffgrid-core")


_known: "WeakKeyDictionary[nn.Module, Cores]" = WeakKeyDictionary()


def run(
    network: nn.Module, function: Function[T, R], batch: Sequence[T], shape: Hashable = None
) -> Sequence[R]:
    """function(batch), row by row, whose work `network` does; laid over the cores where it is on a
    CPU."""
    if next(network.parameters()).device.type != "cpu":
        return function(batch)
    return _known.setdefault(network, Cores()).run(function, batch, shape)
