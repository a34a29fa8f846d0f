"""The form in the sidebar: which grid is asked for."""

import random
from dataclasses import dataclass

import streamlit as st

from diffgrid.catalogue import BUNDLED, SCHEDULERS, find_model, find_scheduler, specify
from diffgrid.limits import Limits
from diffgrid.spec import Grid, default_rows

# A browser's numbers are whole up to here; larger seeds are for the command line.
LARGEST_SEED = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Asked:
    """What the form holds, as it was last sent."""

    prompt: str
    seed: int
    steps: int
    columns: int
    guidance: float
    scheduler: str  # its short name

    def grid(self) -> Grid:
        """The grid it asks for, at the default rows.

        Raises:
            BadInput: a field is out of range, or above this server's limits.
        """
        spec = specify(
            prompt=self.prompt,
            seed=self.seed,
            steps=self.steps,
            guidance=self.guidance,
            # Naming the model's own scheduler could change its configuration.
            scheduler=None if self.scheduler == _own_scheduler() else self.scheduler,
        )
        grid = Grid.with_columns(spec, (), default_rows(spec.length), self.columns)
        grid.check(Limits.from_environment())
        return grid


def run_form() -> tuple[Asked, bool]:
    """Draw the form in the sidebar: what it holds, and whether it was sent just now."""
    settings, limits = find_model(BUNDLED[0]).settings, Limits.from_environment()
    schedulers = [scheduler.name for scheduler in SCHEDULERS]
    st.session_state.setdefault("rolled", 7)
    with st.sidebar.form("run", border=False):
        prompt = st.text_area("Prompt", settings.get("prompt", ""), height=96)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            # Another default makes another widget. Setting the value of this one by its key gets
            # lost where a second run follows at once: the browser then sends back a 0.
            seed = st.number_input("Seed", 0, LARGEST_SEED, st.session_state["rolled"])
            dice = st.form_submit_button(
                "", icon=":material/casino:", help="Another seed", on_click=_roll
            )
        left, right = st.columns(2)
        steps = left.number_input("Steps", 1, limits.max_steps, settings.get("steps", 25))
        columns = right.number_input("Columns", 1, limits.max_columns, 4)
        scheduler = st.selectbox("Scheduler", schedulers, schedulers.index(_own_scheduler()))
        guidance = st.number_input(
            "Guidance",
            0.0,
            value=float(settings.get("guidance", 7.5)),
            step=0.5,
            format="%g",
            help="How strongly the prompt pulls; 1 leaves guidance out.",
        )
        sent = st.form_submit_button("Sample", type="primary", width="stretch")
    return Asked(prompt, seed, steps, columns, guidance, scheduler), sent or dice


def _own_scheduler() -> str:
    return find_scheduler(find_model(BUNDLED[0]).scheduler_config["_class_name"]).name


def _roll() -> None:
    st.session_state["rolled"] = random.randrange(10_000)
