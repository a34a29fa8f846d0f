"""Batches laid over the cores of a CPU: the same numbers, and the layout that was fastest."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from diffgrid.sampling.cpu_parallel import Cores, Layout, layouts


@pytest.mark.parametrize("rows", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_every_layout_gives_the_rows_in_order(rows: int, count: int) -> None:
    cores, batch = Cores(count), [*torch.arange(rows * 6.0).reshape(rows, 2, 3)]
    for _ in layouts(rows, count):
        assert torch.equal(
            torch.stack(cores.run(lambda part: [2 * x for x in part], batch)),
            torch.stack(batch) * 2,
        )
    assert {layout for _, layout in cores.seconds} == set(layouts(rows, count))


def test_layouts_use_no_more_cores_than_there_are() -> None:
    for rows in range(1, 20):
        for cores in range(1, 9):
            found = layouts(rows, cores)
            assert all(x.parts <= rows and x.parts * x.threads <= cores for x in found)
            assert Layout(1, cores) in found


@pytest.mark.parametrize("fastest", layouts(4, 2))
def test_the_layout_that_was_fastest_is_used(fastest: Layout) -> None:
    cores, batch, sizes = Cores(2), [*torch.zeros(4, 1)], []

    def noting(part: Sequence[Tensor]) -> Sequence[Tensor]:
        sizes.append(len(part))
        return part

    cores.seconds = {((4, None), layout): 2e9 for layout in layouts(4, 2)}
    cores.seconds[(4, None), fastest] = 1e9
    cores.run(noting, batch)
    assert sizes == [4 // fastest.parts] * fastest.parts


def test_an_error_in_a_part_comes_out() -> None:
    def fails(part: Sequence[Tensor]) -> Sequence[Tensor]:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Cores(2).run(fails, [*torch.zeros(4, 1)])
