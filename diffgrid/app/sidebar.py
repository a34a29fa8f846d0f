"""The shared sidebar: what is asked for. A change applies at once, through the session."""

import random
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import streamlit as st

from diffgrid.app.about import about
from diffgrid.app.session import prompt_words
from diffgrid.app.session.session import Session
from diffgrid.app.text import plain
from diffgrid.errors import DiffgridError
from diffgrid.limits import Limits
from diffgrid.models import heeded
from diffgrid.models.folder import BUNDLED, Model
from diffgrid.models.registry import choose_scheduler, find_model, models, schedulers_of
from diffgrid.sharing.view import View, backs
from diffgrid.spec.options import Option
from diffgrid.spec.options import added as added_options
from diffgrid.spec.schedulers import name_of

# A browser's numbers are whole up to here; larger seeds are for the command line.
LARGEST_SEED = 2**53 - 1
MOST_ROWS = 8
CHANCE = "any"
FRESH, RENOISE = "Fresh noise", "Re-noise"
# What a fork is: fresh, by whether the scheduler draws noise at each step, and re-noise.
FORKS = {
    True: "A fork draws the noise of one step anew, and goes on from there.",
    False: "This sampler draws no noise: a fork takes one step with it (η = 1), and goes on.",
}
BACK = (
    "A fork adds noise until it is {} back, and denoises from there again: rows begin at step {}."
)
SHARE_BACK = 0.2  # of the way: what re-noise goes back where nobody chose


def sidebar(mine: Session) -> None:
    """Draw the form; what it holds is the view's, or what was asked for last."""
    view, generation = mine.form, mine.generation
    model = find_model(view.model)
    family = model.family

    def key(name: str) -> str:
        # Another key makes another widget: where the view changed by itself, a value set through
        # the old key can get lost when a second run follows at once.
        return f"{name}-{generation}"

    # What is called later changes the view of that moment: the grid may have changed it since.
    def changed(name: str, shown: Any) -> None:
        value = st.session_state[key(name)]
        # A browser that has not drawn the new form yet may send the one before, as it was.
        if mine.generation == generation or value != shown:
            _apply(mine, lambda: option(mine.form, **{name: value}))

    def shape() -> None:
        rows, columns = st.session_state[key("rows")], st.session_state[key("columns")]
        if mine.generation == generation or (rows, columns) != (rows_shown, columns_shown):
            _apply(mine, lambda: mine.form.with_shape(rows, columns))

    def field(name: str, shown: Any) -> dict[str, Any]:
        return {"value": shown, "key": key(name), "on_change": changed, "args": (name, shown)}

    limits = Limits.from_environment()
    rows_shown, columns_shown = max(1, len(view.rows)), min(view.columns, limits.max_columns)
    with st.sidebar:
        if family.prompted:
            st.text_input("Prompt", **field("prompt", view.prompt))
            _unknown_words(model, view.prompt)
        else:
            st.caption("This model takes no prompt: it was trained on one kind of picture.")
        if model.sentence:
            _words(mine, model, view.prompt, key)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            seed = min(view.seed, LARGEST_SEED)
            st.number_input("Seed", 0, LARGEST_SEED, **field("seed", seed))
            st.button(
                "",
                icon=":material/casino:",
                help="Another seed",
                key=key("dice"),
                on_click=_jump,
                args=(mine, lambda: option(mine.form, seed=random.randrange(10_000))),
            )
        if family.guided:
            st.slider(
                "Guidance", 0.0, max(10.0, view.guidance), step=0.5, format="%g",
                help="How strongly the prompt pulls; 1 leaves guidance out.",
                **field("guidance", view.guidance),
            )  # fmt: skip
            if told := heeded.of_guidance(model, view.guidance, view.negative_prompt):
                st.caption(told)
        left, right = st.columns(2)
        left.number_input(
            "Rows", 1, max(MOST_ROWS, rows_shown), rows_shown,
            key=key("rows"), on_change=shape, help="How many steps the trunk is forked at.",
        )  # fmt: skip
        right.number_input(
            "Columns", 1, limits.max_columns, columns_shown,
            key=key("columns"), on_change=shape, help="Branches at each of them.",
        )  # fmt: skip
        st.button(
            "Surprise me",
            icon=":material/auto_awesome:",
            width="stretch",
            on_click=_jump,
            args=(mine, lambda: _surprise(mine, model)),
        )
        # What is closed is not drawn: its dozen fields cost a third of a second of the first paint.
        lab = st.expander("Lab", key="lab", on_change="rerun")
        if lab.open:
            with lab:
                _lab(mine, limits, key, field)
        if limits.public:
            about(limits)


def _lab(mine: Session, limits: Limits, key: Any, field: Any) -> None:
    view, generation = mine.form, mine.generation
    model = find_model(view.model)
    own = name_of(model.scheduler_config["_class_name"], model.scheduler_config)
    usable = [kind.name for kind in schedulers_of(model.family) if not kind.missing()]
    names = list(dict.fromkeys([*usable, own]))

    def model_changed() -> None:
        if mine.generation != generation:  # the form before, sent again
            return
        chosen = st.session_state[key("model")]
        if chosen not in known:  # a browser can send what was never offered, such as a path
            return
        _jump(mine, lambda: replace(View.default(chosen), seed=mine.form.seed))

    def scheduler_changed() -> None:
        name = st.session_state[key("scheduler")]
        if mine.generation != generation and name == (view.scheduler or own):
            return
        if name in names:
            # Naming the model's own scheduler could change its configuration.
            wanted = None if name == own else name
            _apply(mine, lambda: option(mine.form, scheduler=wanted))

    known = list(dict.fromkeys([view.model, *(model.name for model in models())]))
    known.sort(key=lambda name: name not in BUNDLED)
    st.selectbox("Model", known, known.index(view.model), key=key("model"), on_change=model_changed)
    st.selectbox(
        "Scheduler", names, names.index(view.scheduler or own),
        key=key("scheduler"), on_change=scheduler_changed,
    )  # fmt: skip
    st.number_input(
        "Steps", 1, limits.max_steps, **field("steps", min(view.steps, limits.max_steps))
    )
    if view.eta is not None:
        st.slider(
            "eta", 0.0, 1.0, step=0.05, **field("eta", view.eta),
            help="Noise drawn anew at each step: 0 none, 1 as much as DDPM.",
        )  # fmt: skip
    if model.family.negative:
        st.text_input("Negative prompt", **field("negative_prompt", view.negative_prompt))
    for added in added_options().values():
        _added(added, field(added.name, view.options[added.name]))
    kind, config = choose_scheduler(model, view.scheduler)
    _fork_kind(mine, FORKS[kind.draws(config, view.eta)], key)


def _added(option: Option, field: dict[str, Any]) -> None:
    """The field of an option that the table was given since: by its kind alone."""
    if option.kind is str:
        st.text_input(option.title.capitalize(), help=option.help, **field)
    elif option.kind is int:
        low, high = int(option.low), int(option.high)
        st.number_input(option.title.capitalize(), low, high, help=option.help, **field)
    else:
        st.slider(option.title.capitalize(), option.low, option.high, help=option.help, **field)


def _fork_kind(mine: Session, fresh: str, key: Any) -> None:
    """What a cell's fork does, and in one sentence what that is."""
    view, generation = mine.form, mine.generation
    possible = backs(view.loop)
    usual = min(possible, key=lambda back: abs(back - SHARE_BACK * view.loop.length), default=0)

    def changed(name: str) -> None:
        if mine.generation == generation:
            chosen = st.session_state[key(name)]
            back = {FRESH: 0, RENOISE: usual}.get(chosen, chosen)
            _jump(mine, lambda: mine.form.with_fork_kind(back))

    st.radio(
        "Fork kind", [FRESH, RENOISE], 1 if view.back else 0, horizontal=True,
        disabled=not possible, key=key("fork"), on_change=changed, args=("fork",),
    )  # fmt: skip
    if view.back in possible:
        st.number_input(
            "Steps back", possible[0], possible[-1], view.back, possible.step,
            key=key("back"), on_change=changed, args=("back",),
        )  # fmt: skip
    steps = "one step" if view.back == 1 else f"{view.back} steps"
    st.caption(BACK.format(steps, view.back) if view.back else fresh)


def _words(mine: Session, model: Model, prompt: str, key: Any) -> None:
    """The prompt as words to pick: one for each factor, or none."""
    words = st.expander("Pick its words", key="words", on_change="rerun")
    if not words.open:
        return
    picked, generation = prompt_words.read(model, prompt), mine.generation

    def pick() -> None:
        if mine.generation != generation:
            return
        chosen = {factor: st.session_state[key(f"word-{factor}")] for factor in model.factors}
        named = {factor: value for factor, value in chosen.items() if value != CHANCE}
        _jump(mine, lambda: option(mine.form, prompt=prompt_words.compose(model, named)))

    with words:
        columns = st.columns(2)
        for i, (factor, values) in enumerate(model.factors.items()):
            choices = [CHANCE, *values]
            chosen = choices.index(picked.get(factor, CHANCE))
            columns[i % 2].selectbox(
                factor, choices, chosen, key=key(f"word-{factor}"), on_change=pick
            )


def _unknown_words(model: Model, prompt: str) -> None:
    """Underline what the model's tokenizer does not know, and say what it takes as it is."""
    if foreign := heeded.of_prompt(prompt):
        st.caption(plain(foreign))
    strangers = set(heeded.unknown_words(model, prompt))
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


def _surprise(mine: Session, model: Model) -> View:
    changes: dict[str, Any] = {"seed": random.randrange(10_000)}
    if model.sentence:
        changes["prompt"] = prompt_words.surprise(model)
    return option(mine.form, **changes)


def _apply(mine: Session, make: Callable[[], View]) -> None:
    """Ask for the view that is made, or say why it cannot be."""
    try:
        mine.change(make())
    except DiffgridError as error:
        mine.error = str(error)


def _jump(mine: Session, make: Callable[[], View]) -> None:
    """A change that the form's own widgets did not make: they must show it."""
    mine.generation += 1
    _apply(mine, make)


def option(view: View, **changes: Any) -> View:
    """Other options of the run, the view unchanged where they are the same."""
    changed = {name: value for name, value in changes.items() if view.options[name] != value}
    return view.with_options(**changed) if changed else view
