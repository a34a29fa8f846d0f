"""What a study says: its findings as tables, the decisions in them, and how to pass them on."""

import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from diffgrid.compare import band_energies
from diffgrid.decisions.decision_steps import Decisions, decisions
from diffgrid.decisions.metrics import KEYS, divergence
from diffgrid.decisions.study import Finding, GridStudy, Plan, Study, TimestepTable
from diffgrid.errors import BadInput
from diffgrid.models.folder import ASSETS
from diffgrid.models.registry import scheduler_name
from diffgrid.records.frames import decode
from diffgrid.spec.path import Path
from diffgrid.spec.run import RunSpec

STUDIES = ASSETS / "studies"
COMPARED_SIDE = 64  # px, that pictures are reduced to before their frequencies are compared
TRUNK = -1  # the branch number of the trunk's own continuation


@dataclass(frozen=True)
class Results:
    """The labels of so many trees, and what they say."""

    plan: Plan | GridStudy
    trees: int
    kernel: str  # what drew the branches' noise, in words
    cells: pd.DataFrame  # a line a cell: seed, step, branch, and a label for each factor
    again: pd.DataFrame  # the same cells, looked at again
    levels: pd.DataFrame  # step, timestep, alpha_bar
    decisions: Decisions
    divergence: pd.DataFrame | None = None  # by step and frequency band

    def to_csv(self) -> str:
        """A line a factor and fork step."""
        return self.decisions.table().to_csv(index=False)

    def to_dict(self) -> dict[str, Any]:
        """All of it but the pictures, for JSON."""
        spec = self.plan.spec
        run = {
            "model": spec.model,
            "digest": spec.digest,
            "prompt": spec.prompt,
            "negative_prompt": spec.negative_prompt,
            "scheduler": scheduler_name(spec),
            "steps": spec.num_inference_steps,
            "guidance": spec.guidance_scale,
            "eta": spec.eta,
            "height": spec.height,
            "width": spec.width,
        }
        study = {"trunks": self.trees, "rows": self.plan.rows, "columns": self.plan.columns}
        return {
            "run": run,
            "study": study | {"kernel": self.kernel},
            **self.decisions.to_dict(),
            "divergence": self._bands(),
        }

    def _bands(self) -> Any:
        table = pd.DataFrame() if self.divergence is None else self.divergence
        return json.loads(str(table.to_json(orient="records")))  # what is not a number: null

    def to_record(self) -> bytes:
        """All of it, to be shipped: `from_record` takes it back. The same bytes every time."""
        tables = {"cells": self.cells, "again": self.again, "levels": self.levels}
        record = {
            "plan": {
                "spec": self.plan.spec.to_dict(),
                "trunks": self.plan.trunks,
                "rows": self.plan.rows,
                "columns": self.plan.columns,
            },
            "trees": self.trees,
            "kernel": self.kernel,
            **{name: table.to_dict(orient="split", index=False) for name, table in tables.items()},
            "divergence": self._bands(),
        }
        return gzip.compress(json.dumps(record).encode(), mtime=0)

    @classmethod
    def from_record(cls, record: bytes) -> "Results":
        """Take back what `to_record` gave; only of what we ship ourselves."""
        values = json.loads(gzip.decompress(record))
        plan = values["plan"]
        cells, again, levels = (
            pd.DataFrame(values[name]["data"], columns=values[name]["columns"])
            for name in ("cells", "again", "levels")
        )
        return cls(
            Plan(
                RunSpec.from_dict(plan["spec"]),
                plan["trunks"],
                tuple(plan["rows"]),
                plan["columns"],
            ),
            values["trees"],
            values["kernel"],
            cells,
            again,
            levels,
            decisions(cells, levels, again),
            pd.DataFrame(values["divergence"]) if values["divergence"] else None,
        )


def results(study: Study, trees: int, *, bands: bool = False) -> Results:
    """What the first trees of a study say; with `bands` their pictures are compared too.

    Raises:
        DiffgridError: a tree is not there.
    """
    return read(study.plan, list(study.findings(trees)), bands=bands)


def read(
    plan: Plan | GridStudy, findings: Iterable[tuple[int, Path, Finding]], *, bands: bool = False
) -> Results:
    """What these findings say: seed, path and finding of each.

    The trunk's own continuation stands in each row where its branches were drawn by the scheduler's
    own noise, as it was itself; never one that somebody chose.

    Raises:
        BadInput: there are none.
    """
    found = {(seed, path): finding for seed, path, finding in findings}
    levels = next((finding.levels for finding in found.values() if finding.levels), None)
    if levels is None:
        raise BadInput("a study of no trunk says nothing: sample one tree at least.")
    forced_noise = any(finding.forced_noise for finding in found.values())
    lines = [
        (seed, step, branch, finding)
        for (seed, path), finding in found.items()
        for step, branch in (
            [(path[-1].step, path[-1].branch)] if path else _trunks(plan, forced_noise)
        )
    ]
    cells = _table((*cell, finding.labels) for *cell, finding in lines)
    again = _table((*cell, finding.again) for *cell, finding in lines)
    table = _levels(levels)
    return Results(
        plan,
        len({seed for seed, _ in found}),
        _kernel(plan, forced_noise),
        cells,
        again,
        table,
        decisions(cells, table, again),
        _divergence(lines) if bands else None,
    )


def _trunks(plan: Plan | GridStudy, forced_noise: bool) -> list[tuple[int, int]]:
    return (
        [] if forced_noise or isinstance(plan, GridStudy) else [(step, TRUNK) for step in plan.rows]
    )


def _table(cells: Iterable[tuple[Any, ...]]) -> pd.DataFrame:
    """Of each cell its seed, step, branch and labels."""
    return pd.DataFrame(dict(zip(KEYS, key, strict=True)) | labels for *key, labels in cells)


def _levels(levels: TimestepTable) -> pd.DataFrame:
    steps = enumerate(levels)
    return pd.DataFrame({"step": i, "timestep": t, "alpha_bar": bar} for i, (t, bar) in steps)


def _kernel(plan: Plan | GridStudy, forced_noise: bool) -> str:
    name = scheduler_name(plan.spec)
    if isinstance(plan, GridStudy) and plan.grid.back:
        return f"noise that takes each branch {plan.grid.back} steps back, then {name}'s own way"
    if forced_noise:
        where = "each transition from the fork on"
        if isinstance(plan, GridStudy):
            where = "the fork's transition alone, the less of the noise the more steps there are"
        return f"the η-kernel with η = 1 at {where} ({name} draws no noise)"
    eta = "" if plan.spec.eta is None else f" with eta {plan.spec.eta:g}"
    return f"the scheduler's own noise, {name}{eta}"


def _divergence(lines: list[tuple[int, int, int, Finding]]) -> pd.DataFrame | None:
    """How far pictures of one row are apart, by frequency, over how far those of strangers are."""
    size = (COMPARED_SIDE, COMPARED_SIDE)
    pictures = {
        (seed, step, branch): np.asarray(decode(f.picture).resize(size), np.float32) / 255
        for seed, step, branch, f in lines
    }
    rows: dict[tuple[int, int], list[Any]] = {}
    for (seed, step, _), picture in pictures.items():
        rows.setdefault((seed, step), []).append(picture)
    related = [
        {"seed": seed, "step": step, **band_energies(one - other)}
        for (seed, step), row in rows.items()
        for one, other in combinations(row, 2)
    ]
    # A picture of each tree stands for it: any final is as much a stranger to another tree's.
    firsts = {seed: picture for (seed, _, _), picture in reversed(pictures.items())}
    unrelated = [
        {"seed": seed, "other": other, **band_energies(firsts[seed] - firsts[other])}
        for seed, other in combinations(sorted(firsts), 2)
    ]
    return divergence(pd.DataFrame(related), pd.DataFrame(unrelated)) if unrelated else None
