"""The cards below the grid."""

import pytest

from diffgrid.app.examples import EXPERIMENTS, Experiment, link
from diffgrid.sharing.address import from_query


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda each: each.title)
def test_every_experiment_leads_to_a_grid_that_can_be(experiment: Experiment) -> None:
    for changes in experiment.links.values():
        assert link(changes)
        assert from_query(link(changes)).grid().rows
