"""Files to take away."""

from collections.abc import Callable, Mapping

import streamlit as st


def downloads(name: str, files: Mapping[str, tuple[str, str, Callable[[], str | bytes]]]) -> None:
    """A button for each ending of the name: what it says, what it gives, and what makes the file.

    Each is made when it is asked for.
    """
    with st.container(horizontal=True, horizontal_alignment="right"):
        for ending, (label, mime, make) in files.items():
            st.download_button(
                label,
                make,
                file_name=f"{name}.{ending}",
                mime=mime,
                icon=":material/download:",
                on_click="ignore",
            )
