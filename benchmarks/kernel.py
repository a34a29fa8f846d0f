"""Is φ of a deterministic sampler the same for any number of steps? python -m benchmarks.kernel

A study redraws the noise of every transition from the fork on. Each sampler is studied with several
numbers of steps, forked at the same noise levels, and their φ are set side by side. All is kept in
the user's cache, tree by tree: stopped and started again it goes on, and asked again it only reads.
"""

import argparse
from collections.abc import Sequence
from itertools import combinations, pairwise, product

import numpy as np
import pandas as pd

from diffgrid.decisions.metrics import Estimate, row_agreement
from diffgrid.decisions.results import Results, results
from diffgrid.decisions.study import Plan, begin_study
from diffgrid.engine.choose import choose_engine
from diffgrid.models.registry import specify
from diffgrid.store.forgiving import TrajectoryStore

SAMPLERS = {"dpmsolver": None, "unipc": None, "ddim": 0.0}  # and eta
SHARES = (0.2, 0.4, 0.6)  # of the way: t = 799, 599, 399 in the model in the box, for all steps
COLUMNS = 4

Key = tuple[str, str, int]  # sampler, factor, timestep


def plans(steps: Sequence[int], trunks: int) -> dict[tuple[str, int], Plan]:
    """By sampler and number of steps."""
    return {
        (sampler, count): Plan(
            specify(
                prompt="a monster", guidance=1.0, steps=count, scheduler=sampler,
                eta=SAMPLERS[sampler],
            ),
            trunks, tuple(round(count * share) for share in SHARES), COLUMNS,
        )
        for count, sampler in product(steps, SAMPLERS)
    }  # fmt: skip


def side_by_side(found: dict[tuple[str, int], Results]) -> dict[Key, dict[int, Estimate]]:
    """φ by number of steps, wherever one noise level was forked at in all of them."""
    table: dict[Key, dict[int, Estimate]] = {}
    for (sampler, steps), each in found.items():
        levels: pd.Series = each.decisions.levels.timestep
        for factor in each.decisions.factors:
            for step, phi in factor.agreement.items():
                place = (sampler, factor.factor, round(levels[step]))
                table.setdefault(place, {})[steps] = phi
    return table


def by_trunk(found: Results) -> dict[int, "pd.Series[float]"]:
    """φ of each trunk, averaged over factors, by the timestep that is forked at."""
    factors = (row_agreement(found.cells, each.factor) for each in found.decisions.factors)
    rows = pd.concat(factors).groupby(["step", "seed"]).value.mean()
    levels = found.decisions.levels.timestep
    steps = rows.index.unique("step")
    return {round(levels[step]): rows.xs(step, level="step") for step in steps}


def tell(found: dict[tuple[str, int], Results], trunks: int) -> None:
    """In Markdown: every φ, and how many pairs of them lie within each other's intervals; then the
    mean over factors, and how far it moves with the steps, within trunks, with standard errors."""
    table = side_by_side(found)
    counts = sorted({steps for _, steps in found})
    names = " | ".join(f"{steps} steps" for steps in counts)
    print(f"\n{trunks} trunks × {COLUMNS}\n\n| sampler | factor | t | {names} |")
    print("|---" * (3 + len(counts)) + "|")
    pairs: list[tuple[Estimate, Estimate]] = []
    for (sampler, factor, t), by_steps in table.items():
        cells = [f"{phi.value:.2f} ({phi.low:.2f}–{phi.high:.2f})" for phi in by_steps.values()]
        print(f"| {sampler} | {factor.replace('_', ' ')} | {t} |", " | ".join(cells), "|")
        pairs += combinations(by_steps.values(), 2)
    within = [a.low <= b.value <= a.high and b.low <= a.value <= b.high for a, b in pairs]
    apart = [a.high < b.low or b.high < a.low for a, b in pairs]
    print(
        f"\n{sum(within)} of {len(pairs)} pairs lie within each other's intervals; "
        f"the intervals of {sum(apart)} do not meet."
    )
    print(f"\n| sampler | t | {names} |", *(f"{b} less {a} |" for a, b in pairwise(counts)))
    print("|---" * (1 + 2 * len(counts)) + "|")
    trees = {which: by_trunk(each) for which, each in found.items()}
    for sampler, t in dict.fromkeys((sampler, t) for sampler, _, t in table):
        means = [trees[sampler, steps][t] for steps in counts]
        moves = [(other - one).dropna().to_numpy() for one, other in pairwise(means)]
        cells = [f"{np.mean(each):.2f}" for each in means]
        errors = [move.std(ddof=1) / len(move) ** 0.5 for move in moves]
        cells += [f"{m.mean():+.3f} ± {error:.3f}" for m, error in zip(moves, errors, strict=True)]
        print(f"| {sampler} | {t} |", " | ".join(cells), "|", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trunks", type=int, default=64)
    parser.add_argument("--steps", default="10,25,100")
    options = parser.parse_args()
    steps = [int(count) for count in options.steps.split(",")]
    engine = choose_engine(TrajectoryStore.default())
    for trunks in sorted({min(options.trunks, 4 * count) for count in range(2, 17)}):
        found = {}
        for which, plan in plans(steps, trunks).items():
            study = begin_study(engine, plan)
            study.wait()
            if study.snapshot.error:
                raise study.snapshot.error
            found[which] = results(study, trunks)
        tell(found, trunks)


if __name__ == "__main__":
    main()
