"""Each act of a browser is taken once, whatever arrives again, late or garbled."""

from typing import Any

import pytest

from diffgrid.app.components.shared.inbox import Inbox

ONE, TWO, THREE = ({"do": name} for name in ("undo", "redo", "share"))


def told(*acts: tuple[int, Any], sender: str = "me") -> dict[str, Any]:
    return {"sender": sender, "acts": [list(act) for act in acts], "at": 0}


def test_acts_that_come_together_are_all_taken_in_order() -> None:
    inbox = Inbox()
    assert [*inbox.take(told((1, ONE), (2, TWO)))] == [ONE, TWO]
    assert inbox.receipt == ("me", 2)


def test_what_is_sent_again_is_taken_once() -> None:
    inbox = Inbox()
    assert [*inbox.take(told((1, ONE)))] == [ONE]
    assert [*inbox.take(told((1, ONE), (2, TWO)))] == [TWO]
    assert [*inbox.take(told((2, TWO)))] == []


def test_another_sender_begins_anew() -> None:
    inbox = Inbox()
    assert [*inbox.take(told((7, ONE)))] == [ONE]
    assert [*inbox.take(told((1, TWO), sender="other"))] == [TWO]
    assert inbox.receipt == ("other", 1)


@pytest.mark.parametrize(
    "garbled",
    [None, 3, "acts", {}, {"sender": 1, "acts": []}, told((1, "x")), {"sender": "me", "acts": [3]}],
)
def test_what_is_not_understood_is_left_out(garbled: object) -> None:
    inbox = Inbox()
    assert [*inbox.take(garbled)] == []
    assert [*inbox.take(told((1, THREE)))] == [THREE]
