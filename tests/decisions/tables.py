"""Cells and levels in a few letters and figures."""

from __future__ import annotations

import pandas as pd

from diffgrid.models.folder import UNCLEAR


def table(rows: dict[tuple[int, int], str]) -> pd.DataFrame:
    """Cells from {(seed, step): "aab?"}: a letter a branch, ? for unclear."""
    return pd.DataFrame(
        [
            {"seed": seed, "step": step, "branch": i, "hat": UNCLEAR if c == "?" else c}
            for (seed, step), labels in rows.items()
            for i, c in enumerate(labels)
        ]
    )


def levels(*alpha_bar: float) -> pd.DataFrame:
    steps = range(len(alpha_bar))
    timesteps = [900 - 100 * step for step in steps]
    return pd.DataFrame({"step": steps, "timestep": timesteps, "alpha_bar": alpha_bar})
