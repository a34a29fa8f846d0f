"""Is φ of a deterministic sampler the same for any number of steps? python -m benchmarks.kernel

A study redraws the noise of every transition from the fork on. Each sampler is studied with several
numbers of steps, forked at the same noise levels, and their φ are set side by side. All is kept in
the user's cache, tree by tree: stopped and started again it goes on, and asked again it only reads.
"""

import argparse
from collections.abc import Sequence
from itertools import combinations, product
from statistics import fmean

import pandas as pd

from diffgrid.decisions.metrics import Estimate
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


def tell(found: dict[tuple[str, int], Results], trunks: int) -> None:
    """The table in Markdown, how many pairs of φ lie within each other's intervals, and means of φ
    over factors."""
    table = side_by_side(found)
    counts = sorted({steps for _, steps in found})
    print(f"\n{trunks} trunks × {COLUMNS}\n")
    print("| sampler | factor | t |", " | ".join(f"{steps} steps" for steps in counts), "|")
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
        f"the intervals of {sum(apart)} do not meet.",
        flush=True,
    )
    means: dict[tuple[str, int], dict[int, list[float]]] = {}
    for (sampler, _, t), by_steps in table.items():
        for count, phi in by_steps.items():
            means.setdefault((sampler, t), {}).setdefault(count, []).append(phi.value)
    print("\n| sampler | t |", " | ".join(f"{steps} steps" for steps in counts), "|")
    print("|---" * (2 + len(counts)) + "|")
    for (sampler, t), every in means.items():
        cells = [f"{fmean(each):.3f}" for each in every.values()]
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
