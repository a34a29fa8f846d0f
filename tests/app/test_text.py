"""Jobs and errors in words."""

from dataclasses import replace

import pytest

from diffgrid.app.text import cost, plain, progress, weight
from diffgrid.engine.protocol import Snapshot


@pytest.mark.parametrize(
    ("snapshot", "words"),
    [
        (Snapshot(), "Waiting for its turn"),
        (Snapshot(before=1), "Waiting for its turn: one goes first"),
        (Snapshot(before=3), "Waiting for its turn: 3 go first"),
        (Snapshot(state="loading"), f"Loading monsters, {weight('monsters')} …"),
        (Snapshot(state="sampling", to_sample=9), "0 of 9 evaluations"),
        (
            Snapshot(state="decoding", decoded=3, to_decode=25, reused=25, seconds_left=40.0),
            "3 of 25 pictures decoded by the full VAE, 40 s left",
        ),
    ],
)
def test_progress_in_words(snapshot: Snapshot, words: str) -> None:
    assert progress(snapshot, "monsters") == words


def test_cost_in_words() -> None:
    reused = Snapshot(minimum=20, naive=30, reused=12, to_sample=8, sampled=8, seconds=1)
    assert cost(reused) == "20 evaluations, 12 reused · 10 saved by shared beginnings · 1.0 s"
    stored = replace(reused, reused=20, to_sample=0, sampled=0)
    assert cost(stored).startswith("20 evaluations, all reused")


def test_plain_text_is_markdown_of_itself() -> None:
    assert plain("a *b* :red[c]\n$x$") == r"a \*b\* \:red\[c\] \$x\$"
