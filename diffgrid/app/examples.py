"""Eight things to try: each a sentence, and links to the grids that show it."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import streamlit as st

from diffgrid.app.components.cards.cards import Card, show_cards
from diffgrid.sharing.address import to_query
from diffgrid.sharing.view import View
from diffgrid.spec.path import parse_path


@dataclass(frozen=True)
class Experiment:
    """A question, and for each answer's name what is changed of the first page's grid."""

    title: str
    sentence: str
    links: dict[str, dict[str, Any]]


EXPERIMENTS = (
    Experiment(
        "Noise along the way",
        "With eta 1 every step draws fresh noise; with 0 only the forks do: siblings stay closer.",
        {"eta 0": {"eta": 0.0}, "eta 1": {"eta": 1.0, "seed": 8}},
    ),
    Experiment(
        "How hard the prompt pulls",
        "Guidance trades variety for obedience: watch what stays open in the first row.",
        {
            "guidance 1": {"guidance": 1.0},
            "3": {"guidance": 3.0, "seed": 11},
            "8": {"guidance": 8.0},
        },
    ),
    Experiment(
        "Few steps, many steps",
        "Four steps leave little room to change course; fifty decide later, and in finer detail.",
        {"4 steps": {"steps": 4}, "50 steps": {"steps": 50}},
    ),
    Experiment(
        "Say nothing",
        "An empty prompt leaves everything to the noise: the whole world that the model knows.",
        {"empty prompt": {"prompt": ""}},
    ),
    Experiment(
        "Contradict yourself",
        "Two colours for one body: which of them wins, and at which step is it settled?",
        {"red and blue": {"prompt": "a red blue monster with a smile and a frown"}},
    ),
    Experiment(
        "Change one word",
        "The seed stays, one word changes: the rest of the monster often follows.",
        {
            "spotted": {"prompt": "a spotted green monster with two eyes and horns"},
            "striped": {"prompt": "a striped green monster with two eyes and horns"},
        },
    ),
    Experiment(
        "Fork early, fork late",
        "At the first step almost all is open; near the end only details are.",
        {"early": {"rows": (0, 1, 2, 3)}, "late": {"rows": (14, 17, 20, 23)}},
    ),
    Experiment(
        "Same noise, another prompt",
        "The same seed and the same forks under two prompts: what is it that the noise decides?",
        {
            "cat ears": {"prompt": "a monster with cat ears", "path": "5.2"},
            "antennae": {"prompt": "a monster with antennae", "path": "5.2"},
        },
    ),
)


def experiments() -> None:
    """Draw them as cards, under the grid."""
    st.subheader("Try this", anchor=False)
    show_cards(cards())


@cache  # each link draws on all that decides a run
def cards() -> list[Card]:
    """The cards, with their links' addresses."""
    return [
        Card(
            title=experiment.title,
            sentence=experiment.sentence,
            links=[(label, link(changes)) for label, changes in experiment.links.items()],
        )
        for experiment in EXPERIMENTS
    ]


def link(changes: dict[str, Any]) -> dict[str, str]:
    """The address of the default grid with these changes."""
    options = {name: value for name, value in changes.items() if name not in ("rows", "path")}
    view = View.default().with_options(**options)
    if rows := changes.get("rows"):
        view = view.with_steps(rows)
    return to_query(view.follow(parse_path(changes.get("path", "trunk"))))
