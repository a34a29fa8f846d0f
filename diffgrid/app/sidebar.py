"""The shared sidebar: what is asked for. A change applies at once, through the session."""

import random
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import streamlit as st

from diffgrid.app.about import about
from diffgrid.app.session.session import Session
from diffgrid.app.text import plain
from diffgrid.errors import DiffgridError
from diffgrid.limits import Limits
from diffgrid.models import heeded, prompt_words
from diffgrid.models.calls import options_of, read_options
from diffgrid.models.families import IMAGE_TO_IMAGE, image_to_image_of
from diffgrid.models.folder import BUNDLED, Model
from diffgrid.models.registry import choose_scheduler, find_model, models, schedulers_of
from diffgrid.sharing.photo import MOST_BYTES, SUFFIXES
from diffgrid.sharing.view import View, backs
from diffgrid.spec.options import STRENGTH, Option
from diffgrid.spec.options import added as added_options
from diffgrid.spec.pipeline_options import format_options, parse_options
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


class _Form:
    """The form as it is drawn once: what its fields go by, and what a change of one does."""

    def __init__(self, mine: Session) -> None:
        self.mine, self.view, self.generation = mine, mine.form, mine.generation
        self._new: list[tuple[Any, ...]] = []  # what becomes of a change of each new field

    def field(
        self,
        name: str,
        shown: Any,
        make: Callable[[Any], View],
        do: Callable[[Session, Callable[[], View]], None] | None = None,
    ) -> dict[str, Any]:
        """A field's key, and what becomes of another value than is shown: the view that it makes.

        Another key makes another widget: where the view changed by itself, a value set through the
        old key can get lost when a second run follows at once. A field that shows the new view as
        it is keeps its own, and so the focus, and what is being typed: also where the server was
        started anew, as the first one is the same for all sessions.
        """
        drawn, key = self.mine.fields.get(name, (None, f"{name}-0"))
        change = key, shown, make, do or _apply
        if drawn is None:
            self._new.append(change)
        elif drawn != self.generation and st.session_state.get(key) != shown:
            key = f"{name}-{self.generation}"
        self.mine.fields[name] = self.generation, key
        return {"key": key, "on_change": self._changed, "args": (key, *change[1:])}

    def option(self, name: str, shown: Any) -> dict[str, Any]:
        """The same of an option of the run, and its value."""
        changed = self.field(name, shown, lambda value: option(self.mine.form, **{name: value}))
        return {"value": shown, **changed}

    def take_up(self) -> None:
        """Ask for what a browser brings along that was told a server which is gone."""
        brought = [each for each in self._new if st.session_state[each[0]] != each[1]]
        for each in brought:
            self._changed(*each)
        if brought:
            st.rerun()

    def _changed(self, key: str, shown: Any, make: Callable[[Any], View], do: Any) -> None:
        value, mine = st.session_state[key], self.mine
        # What is called later changes the view of that moment: the grid may have changed it since.
        if mine.generation == self.generation:
            do(mine, lambda: make(value))
        # A browser that has not drawn the new form yet may send the one before, as it was.
        elif value != shown:
            _jump(mine, lambda: make(value))


def sidebar(mine: Session) -> None:
    """Draw the form; what it holds is the view's, or what was asked for last.

    A browser knows an element by its place: until a run is through, one that moved stands twice, or
    not at all. So what comes and goes does that in a container that stays.
    """
    form, view, model = _Form(mine), mine.form, find_model(mine.form.model)
    family, limits = model.family, Limits.from_environment()
    with st.sidebar:
        with st.container():
            if family.prompted:
                st.text_input("Prompt", **form.option("prompt", view.prompt))
                _unknown_words(model, view.prompt)
            else:
                st.caption("This model takes no prompt: it was trained on one kind of picture.")
        with st.container():
            if model.sentence:
                _words(form, model, view.prompt)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            seed = min(view.seed, LARGEST_SEED)
            st.number_input("Seed", 0, LARGEST_SEED, **form.option("seed", seed))
            st.button(
                "",
                icon=":material/casino:",
                help="Another seed",
                key="dice",
                on_click=_jump,
                args=(mine, lambda: option(mine.form, seed=random.randrange(10_000))),
            )
        with st.container():
            if family.guided:
                st.slider(
                    "Guidance", 0.0, max(10.0, view.guidance), step=0.5, format="%g",
                    help="How strongly the prompt pulls; 1 leaves guidance out.",
                    **form.option("guidance", view.guidance),
                )  # fmt: skip
                if told := heeded.of_guidance(model, view.guidance, view.negative_prompt):
                    st.caption(told)
        _shape(form, limits)
        with st.container():
            if family.pipeline in IMAGE_TO_IMAGE and not limits.public:
                _photo(form)
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
                _lab(form, model, limits)
        if limits.public:
            about(limits)
    form.take_up()


def _shape(form: _Form, limits: Limits) -> None:
    mine, view = form.mine, form.view
    rows, columns = max(1, len(view.rows)), min(view.columns, limits.max_columns)
    left, right = st.columns(2)
    left.number_input(
        "Rows", 1, max(MOST_ROWS, rows), rows, help="How many steps the trunk is forked at.",
        **form.field("rows", rows, lambda count: mine.form.with_shape(count, mine.form.columns)),
    )  # fmt: skip
    right.number_input(
        "Columns", 1, limits.max_columns, columns, help="Branches at each of them.",
        **form.field(
            "columns", columns, lambda count: mine.form.with_shape(len(mine.form.rows), count)
        ),
    )  # fmt: skip


def _photo(form: _Form) -> None:
    """A picture to begin with in place of noise, and how far to go from it."""
    mine, view = form.mine, form.view
    begun = bool(view.options["image"])
    part = st.expander("Begin with a photo", begun, key="photo", on_change="rerun")
    if not part.open:
        return
    taken = st.session_state.setdefault("_photos", 0)  # another one each time: it is empty again

    def take() -> None:
        if file := st.session_state.get(f"photo-{taken}"):
            st.session_state["_photos"] = taken + 1
            _jump(mine, lambda: mine.begin_with(file.getvalue()))

    def with_strength(value: float) -> View:
        return option(mine.form, strength=value)

    def leave_out() -> None:
        _jump(mine, lambda: option(mine.form, image="", strength=STRENGTH))

    with part:
        st.file_uploader(
            "Photo", [*SUFFIXES], key=f"photo-{taken}", on_change=take,
            max_upload_size=MOST_BYTES // 2**20, label_visibility="collapsed",
        )  # fmt: skip
        with st.container():
            if not begun:
                st.caption("Its middle becomes what the trunk begins with, under some noise.")
                return
            left, right = st.columns([0.35, 0.65], vertical_alignment="center")
            if picture := mine.begun_with():
                left.image(picture)
            else:
                left.caption("Not on this machine: choose it again.")
            strength = view.options["strength"]
            right.slider(
                "Strength", min(0.05, strength), 1.0, strength, 0.05,
                help="How far from the photo: the share of the steps that are taken.",
                **form.field("strength", strength, with_strength, _jump),  # rows move with it
            )  # fmt: skip
            right.button("Leave it out", key="no-photo", on_click=leave_out)


def _lab(form: _Form, model: Model, limits: Limits) -> None:
    mine, view = form.mine, form.view
    known = list(dict.fromkeys([view.model, *(model.name for model in models())]))
    known.sort(key=lambda name: name not in BUNDLED)
    own = name_of(model.scheduler_config["_class_name"], model.scheduler_config)
    usable = [kind.name for kind in schedulers_of(model.family) if not kind.missing()]
    names, scheduler = list(dict.fromkeys([*usable, own])), view.scheduler or own

    def with_model(name: str) -> View:
        if name not in known:  # a browser can send what was never offered, such as a path
            return mine.form
        return replace(View.default(name), seed=mine.form.seed)

    def with_scheduler(name: str) -> View:
        if name not in names:
            return mine.form
        # Naming the model's own scheduler could change its configuration.
        return option(mine.form, scheduler=None if name == own else name)

    st.selectbox(
        "Model", known, known.index(view.model),
        **form.field("model", view.model, with_model, _jump),
    )  # fmt: skip
    st.selectbox(
        "Scheduler", names, names.index(scheduler),
        **form.field("scheduler", scheduler, with_scheduler),
    )  # fmt: skip
    steps = min(view.steps, limits.max_steps)
    st.number_input("Steps", 1, limits.max_steps, **form.option("steps", steps))
    with st.container():
        if view.eta is not None:
            st.slider(
                "eta", 0.0, 1.0, step=0.05, **form.option("eta", view.eta),
                help="Noise drawn anew at each step: 0 none, 1 as much as DDPM.",
            )  # fmt: skip
    with st.container():
        if model.family.negative:
            negative = form.option("negative_prompt", view.negative_prompt)
            st.text_input("Negative prompt", **negative)
    elsewhere = {"image", "strength", *(("lora",) if limits.public else ())}
    for added in added_options().values():
        if added.name == "option":
            with st.container():
                _of_its_pipeline(form, model, view.options["option"])
        elif added.name not in elsewhere:
            _added(added, form.option(added.name, view.options[added.name]))
    kind, config = choose_scheduler(model, view.scheduler)
    _fork_kind(form, FORKS[kind.draws(config, view.eta)])


def _added(option: Option, field: dict[str, Any]) -> None:
    """The field of an option that the table was given since: by its kind alone."""
    if option.kind is str:
        st.text_input(option.title.capitalize(), help=option.help, **field)
    elif option.kind is int:
        low, high = int(option.low), int(option.high)
        st.number_input(option.title.capitalize(), low, high, help=option.help, **field)
    else:
        st.slider(option.title.capitalize(), option.low, option.high, help=option.help, **field)


def _of_its_pipeline(form: _Form, model: Model, told: str) -> None:
    """What else its pipeline takes, by what its call says of it."""
    mine, pipeline = form.mine, model.family.pipeline
    if form.view.options["image"]:
        pipeline = image_to_image_of(pipeline)
    chosen = read_options(pipeline, told)

    def setting(name: str, default: Any) -> Callable[[Any], View]:
        def change(value: Any) -> View:
            now = parse_options(mine.form.options["option"])
            now.pop(name, None)
            named = {} if value in (None, "", default) else {name: value}
            return option(mine.form, option=format_options(now | named))

        return change

    for name, argument in options_of(pipeline).items():
        title, kind = name.replace("_", " ").capitalize(), argument.kinds[0]
        value = chosen.get(name, argument.default)
        field = form.field(f"option-{name}", value, setting(name, argument.default))
        if kind == "bool":
            st.checkbox(title, bool(value), **field)
        elif kind == "str":
            st.text_input(title, value or "", **field)
        else:
            real = kind == "float"
            number: dict[str, Any] = {"step": 0.1, "format": "%g"} if real else {"step": 1}
            first = None if value is None else float(value) if real else int(value)
            if argument.default is None:  # only what began empty can be emptied again
                st.session_state.setdefault(field["key"], first)
                first = None
            st.number_input(title, value=first, placeholder="not set", **number, **field)


def _fork_kind(form: _Form, fresh: str) -> None:
    """What a cell's fork does, and in one sentence what that is."""
    mine, view = form.mine, form.view
    possible = backs(view.loop)
    usual = min(possible, key=lambda back: abs(back - SHARE_BACK * view.loop.length), default=0)
    kind = RENOISE if view.back else FRESH

    def with_back(back: int) -> View:
        return mine.form.with_fork_kind(back)

    def with_kind(name: str) -> View:
        return with_back(usual if name == RENOISE else 0)

    st.radio(
        "Fork kind", [FRESH, RENOISE], [FRESH, RENOISE].index(kind), horizontal=True,
        disabled=not possible, **form.field("fork", kind, with_kind, _jump),
    )  # fmt: skip
    with st.container():
        if view.back in possible:
            st.number_input(
                "Steps back", possible[0], possible[-1], view.back, possible.step,
                **form.field("back", view.back, with_back, _jump),
            )  # fmt: skip
    steps = "one step" if view.back == 1 else f"{view.back} steps"
    st.caption(BACK.format(steps, view.back) if view.back else fresh)


def _words(form: _Form, model: Model, prompt: str) -> None:
    """The prompt as words to pick: one for each factor, or none."""
    words = st.expander("Pick its words", key="words", on_change="rerun")
    if not words.open:
        return
    mine, picked = form.mine, prompt_words.read(model, prompt)

    def picking(factor: str) -> Callable[[str], View]:
        def pick(value: str) -> View:
            named = prompt_words.read(model, mine.form.prompt) | {factor: value}
            named = {name: word for name, word in named.items() if word != CHANCE}
            return option(mine.form, prompt=prompt_words.compose(model, named))

        return pick

    with words:
        columns = st.columns(2)
        for i, (factor, values) in enumerate(model.factors.items()):
            choices, chosen = [CHANCE, *values], picked.get(factor, CHANCE)
            columns[i % 2].selectbox(
                factor, choices, choices.index(chosen),
                **form.field(f"word-{factor}", chosen, picking(factor), _jump),
            )  # fmt: skip


def _unknown_words(model: Model, prompt: str) -> None:
    """Mark what the model's tokenizers do not know, and say what they take as it is, or not."""
    for told in (heeded.of_length(model, prompt), heeded.of_prompt(prompt)):
        if told:
            st.caption(plain(told))
    if not (strangers := set(heeded.unknown_words(model, prompt))):
        return
    marked = re.sub(
        r"[^\W\d_]+|\S",
        lambda word: f":red-background[{word[0]}]" if word[0] in strangers else plain(word[0]),
        prompt,
    )
    st.caption(marked)
    known = sorted(model.words or ())
    count = f"; it knows {len(known)} words" if known else ""
    st.caption(f"This model does not know what is marked{count}.", help=", ".join(known) or None)


def _surprise(mine: Session, model: Model) -> View:
    changes: dict[str, Any] = {"seed": random.randrange(10_000)}
    if model.sentence:
        changes["prompt"] = prompt_words.surprise(model)
    return option(mine.form, **changes)


def _apply(mine: Session, make: Callable[[], View]) -> None:
    """Ask for the view that is made, or say why it cannot be."""
    stale = mine.stale
    try:
        mine.change(make())
    except DiffgridError as error:
        mine.error = str(error)
    # What was refused goes once something else is asked for.
    mine.generation += stale and mine.error is None


def _jump(mine: Session, make: Callable[[], View]) -> None:
    """A change that the form's own widgets did not make: they must show it."""
    mine.generation += 1
    _apply(mine, make)


def option(view: View, **changes: Any) -> View:
    """Other options of the run, the view unchanged where they are the same."""
    changed = {name: value for name, value in changes.items() if view.options[name] != value}
    return view.with_options(**changed) if changed else view
