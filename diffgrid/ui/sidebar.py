"""The shared sidebar: what is asked for. A change applies at once, through the desk."""

import random
import re
from typing import Any

import streamlit as st

from diffgrid.catalogue import SCHEDULERS, Model, find_model, find_scheduler, models
from diffgrid.errors import DiffgridError
from diffgrid.limits import Limits
from diffgrid.ui import chips
from diffgrid.ui.desk import Desk, option
from diffgrid.ui.words import plain

# A browser's numbers are whole up to here; larger seeds are for the command line.
LARGEST_SEED = 2**53 - 1
MOST_ROWS = 8
CHANCE = "leave to chance"
FORKS = {
    True: "A fork redraws the noise of one step.",
    False: "This sampler draws no noise: a fork takes one step with it (η = 1), then goes on.",
}


def sidebar(mine: Desk) -> None:
    """Draw the form; what it holds is the view's, or what was asked for last."""
    view, generation = mine.form, mine.generation
    model = find_model(view.model)

    def key(name: str) -> str:
        # Another key makes another widget: where the view changed by itself, a value set through
        # the old key can get lost when a second run follows at once.
        return f"{name}-{generation}"

    # What is called later changes the view of that moment: the grid may have changed it since.
    def changed(name: str) -> None:
        _apply(mine, option(mine.form, **{name: st.session_state[key(name)]}))

    def shape() -> None:
        rows, columns = st.session_state[key("rows")], st.session_state[key("columns")]
        _apply(mine, mine.form.with_shape(rows, columns))

    def field(name: str, **more: Any) -> dict[str, Any]:
        return {"key": key(name), "on_change": changed, "args": (name,), **more}

    limits = Limits.from_environment()
    with st.sidebar:
        st.text_input("Prompt", view.prompt, **field("prompt"))
        _unknown_words(model, view.prompt)
        if model.factors and "sentence" in model.settings:
            _words(mine, model, view.prompt, key)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            st.number_input("Seed", 0, LARGEST_SEED, min(view.seed, LARGEST_SEED), **field("seed"))
            st.button(
                "",
                icon=":material/casino:",
                help="Another seed",
                key=key("dice"),
                on_click=lambda: _jump(mine, option(mine.form, seed=random.randrange(10_000))),
            )
        st.slider(
            "Guidance",
            0.0,
            max(10.0, view.guidance),
            view.guidance,
            0.5,
            format="%g",
            help="How strongly the prompt pulls; 1 leaves guidance out.",
            **field("guidance"),
        )
        left, right = st.columns(2)
        left.number_input(
            "Rows", 1, max(MOST_ROWS, len(view.rows)), max(1, len(view.rows)),
            key=key("rows"), on_change=shape, help="How many steps the trunk is forked at.",
        )  # fmt: skip
        right.number_input(
            "Columns", 1, limits.max_columns, min(view.columns, limits.max_columns),
            key=key("columns"), on_change=shape, help="Branches at each of them.",
        )  # fmt: skip
        st.button(
            "Surprise me",
            icon=":material/auto_awesome:",
            width="stretch",
            on_click=lambda: _jump(mine, _surprise(mine, model)),
        )
        with st.expander("Lab"):
            _lab(mine, limits, key, field)


def _lab(mine: Desk, limits: Limits, key: Any, field: Any) -> None:
    view = mine.form
    model = find_model(view.model)
    own = find_scheduler(model.scheduler_config["_class_name"]).name
    names = [scheduler.name for scheduler in SCHEDULERS]

    def scheduler_changed() -> None:
        name = st.session_state[key("scheduler")]
        # Naming the model's own scheduler could change its configuration.
        _apply(mine, option(mine.form, scheduler=None if name == own else name))

    known = [model.name for model in models()]
    st.selectbox("Model", known, known.index(view.model), **field("model"))
    st.selectbox(
        "Scheduler", names, names.index(view.scheduler or own),
        key=key("scheduler"), on_change=scheduler_changed,
    )  # fmt: skip
    st.number_input(
        "Steps", 1, limits.max_steps, min(view.steps, limits.max_steps), **field("steps")
    )
    if view.eta is not None:
        st.slider(
            "eta", 0.0, 1.0, view.eta, 0.05, **field("eta"),
            help="Noise drawn anew at each step: 0 none, 1 as much as DDPM.",
        )  # fmt: skip
    st.text_input(
        "Negative prompt", view.negative_prompt, **field("negative_prompt"),
    )  # fmt: skip
    st.caption(FORKS[_stochastic(view.scheduler or own, view.eta)])


def _stochastic(scheduler: str, eta: float | None) -> bool:
    if eta is not None:
        return eta > 0
    return scheduler in ("ddpm", "euler_ancestral", "dpmsolver_sde", "lcm")


def _words(mine: Desk, model: Model, prompt: str, key: Any) -> None:
    """The prompt as words to pick: one for each factor, or none."""
    picked = chips.read(model, prompt)

    def pick() -> None:
        chosen = {factor: st.session_state[key(f"word-{factor}")] for factor in model.factors}
        named = {factor: value for factor, value in chosen.items() if value != CHANCE}
        _jump(mine, option(mine.form, prompt=chips.compose(model, named)))

    with st.expander("Pick its words"):
        columns = st.columns(2)
        for i, (factor, values) in enumerate(model.factors.items()):
            choices = [CHANCE, *values]
            chosen = choices.index(picked.get(factor, CHANCE))
            columns[i % 2].selectbox(
                factor, choices, chosen, key=key(f"word-{factor}"), on_change=pick
            )


def _unknown_words(model: Model, prompt: str) -> None:
    """Underline what the model's tokenizer does not know."""
    strangers = set(chips.unknown(model, prompt))
    if not strangers or model.words is None:
        return
    marked = re.sub(
        r"[^\W\d_]+|\S",
        lambda word: f":red-background[{word[0]}]" if word[0] in strangers else plain(word[0]),
        prompt,
    )
    st.caption(marked)
    known = ", ".join(sorted(model.words))
    count = len(model.words)
    st.caption(f"This model does not know what is marked; it knows {count} words.", help=known)


def _surprise(mine: Desk, model: Model) -> Any:
    changes: dict[str, Any] = {"seed": random.randrange(10_000)}
    if model.factors and "sentence" in model.settings:
        changes["prompt"] = chips.surprise(model)
    return option(mine.form, **changes)


def _apply(mine: Desk, view: Any) -> None:
    try:
        mine.change(view)
    except DiffgridError as error:
        mine.error = str(error)


def _jump(mine: Desk, view: Any) -> None:
    """A change that the form's own widgets did not make: they must show it."""
    mine.generation += 1
    _apply(mine, view)
