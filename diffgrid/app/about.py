"""What a public server says of itself."""

import streamlit as st

from diffgrid.limits import Limits


def about(limits: Limits) -> None:
    """Every limit, and what becomes of what visitors do."""
    panel = st.expander("About this server", key="about", on_change="rerun")
    if panel.open:
        panel.caption(
            f"""
- A run has at most {limits.max_steps} steps, a side of {limits.max_side} px and a prompt of
  {limits.max_prompt} characters; a grid {limits.max_columns} columns and {limits.max_cells} cells;
  a study {limits.max_trunks} trunks.
- One visitor gets {limits.max_evaluations_a_minute:,} evaluations a minute, and
  {limits.max_evaluations:,} in all; {limits.max_waiting} requests of one visitor wait, and
  {limits.max_queue} of all. Visitors take turns.
- Models are those of the list. None is fetched, and nothing is saved, renamed or removed. Photos
  are not taken.
- What you make is listed for nobody else. Who has its address sees it: the address holds it all.
  Pictures stay in the cache until they make room, so download those that you like.
"""
        )
