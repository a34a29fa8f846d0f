"""Prompts to leaf through: each leaves something else to the noise."""

from diffgrid.models.folder import BUNDLED

PROMPTS = (
    "a monster with a hat on a blue background",  # what is shown first
    "a spotted green monster with two eyes and horns",
    "a monster with three eyes and antennae",
    "a fluffy pink monster",
    "a striped monster with fangs on a yellow background",
    "a tall monster with cat ears and a smile",
    "a square monster on a black background",
    "a round purple monster with one eye",
    "a monster",
)


def prompts_of(model: str) -> tuple[str, ...]:
    """A model's, round and round; only of one in the box is it known what is good."""
    return PROMPTS if model in BUNDLED else ()
