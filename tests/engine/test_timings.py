"""How long evaluations are said to take."""

from dataclasses import replace

import pytest

from diffgrid.engine.timings import FEWEST_TIMED, FIRST_GUESS, GUESSED, Timings
from diffgrid.models.registry import specify
from diffgrid.spec.run import RunSpec


@pytest.fixture
def foreign() -> RunSpec:
    return replace(specify(), model="somebody/else", digest="0" * 64)


def test_the_bundled_model_begins_with_a_guess_which_jobs_correct() -> None:
    timings, spec = Timings(), specify()
    assert timings.seconds(spec, 10) == pytest.approx(FIRST_GUESS * 10)
    timings.add(spec, 100, 7.0)
    both = (FIRST_GUESS * GUESSED / 2 + 7) / (GUESSED / 2 + 100)
    assert timings.seconds(spec, 10) == pytest.approx(both * 10)


def test_a_picture_of_four_times_the_area_is_guessed_to_take_four_times_as_long() -> None:
    timings, spec = Timings(), specify()
    large = replace(spec, height=2 * spec.height, width=2 * spec.width)
    assert timings.seconds(large, 1) == pytest.approx(4 * FIRST_GUESS)


def test_nothing_is_said_of_a_foreign_model_before_a_job_of_its_kind(foreign: RunSpec) -> None:
    timings = Timings()
    timings.add(foreign, FEWEST_TIMED - 1, 1.0)  # the first of a job are slower than the rest
    assert timings.seconds(foreign, 10) is None
    timings.add(foreign, 20, 10.0)
    assert timings.seconds(foreign, 10) == 5.0
    assert timings.seconds(replace(foreign, seed=9, prompt="else"), 0) == 0.0
    assert timings.seconds(replace(foreign, guidance_scale=1.0), 10) is None


def test_older_jobs_count_less(foreign: RunSpec) -> None:
    timings = Timings()
    timings.add(foreign, 20, 10.0)
    timings.add(foreign, 20, 40.0)
    assert timings.seconds(foreign, 1) == (5 + 40) / (10 + 20)
