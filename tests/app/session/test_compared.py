"""Which runs a session compares."""

import pytest

from diffgrid.app.session.compared import Compared
from diffgrid.app.session.run_list import address, first_pair
from diffgrid.store.runs import RunInfo
from tests.store.made import store_in_memory, trajectory


@pytest.fixture(scope="module")
def infos() -> list[RunInfo]:
    """Six runs."""
    store = store_in_memory()
    for seed in range(6):
        store.add(trajectory(seed, side=4))
    return store.runs()


def test_the_address_comes_first_then_what_was_chosen_then_a_pair(infos: list[RunInfo]) -> None:
    mine = Compared()
    assert mine.choose(infos, None, "") == (first_pair(infos), None)
    mine.remember(infos[2:5])
    assert mine.choose(infos, None, "") == (infos[2:5], None)
    assert mine.choose(infos, address(infos[:1]), "") == (infos[:1], None)


def test_what_is_asked_for_in_vain_is_told_and_a_pair_is_shown(infos: list[RunInfo]) -> None:
    chosen, complaint = Compared().choose(infos, "nothing", infos[3].key)
    assert chosen == first_pair(infos, infos[3].key)
    assert "nothing" in str(complaint)


def test_an_empty_choice_is_forgotten_unless_it_was_on_purpose(infos: list[RunInfo]) -> None:
    mine = Compared()
    mine.remember([])
    assert mine.choose(infos, None, "") == (first_pair(infos), None)
    mine.show_nothing()
    assert mine.choose(infos, None, "") == ([], None)


def test_the_first_stays_the_first_and_the_fifth_takes_the_place_of_the_oldest(
    infos: list[RunInfo],
) -> None:
    mine, shown = Compared(), [infos[3], infos[0]]
    assert mine.take(shown, [infos[0], infos[1], infos[3]]) == [infos[3], infos[0], infos[1]]
    assert mine.take(infos[:4], infos[:5]) == infos[1:5]


def test_runs_chosen_by_other_hands_are_on_top_and_ticked_ones_stay(infos: list[RunInfo]) -> None:
    mine = Compared()
    assert mine.on_top(infos[4:]) == [info.key for info in infos[4:]]
    taken = mine.take(infos[4:], infos[3:])
    assert mine.on_top(taken) == [info.key for info in infos[4:]]
    assert mine.on_top(infos[:2]) == [info.key for info in infos[:2]]
