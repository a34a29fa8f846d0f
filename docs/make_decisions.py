"""Draw the README's picture of what is decided when, and write its words, from studies that ship.

python -m docs.make_decisions
"""

import re
from pathlib import Path
from textwrap import fill

from diffgrid.decisions.chart_png import to_png
from diffgrid.decisions.charts import chart, words
from diffgrid.decisions.decision_steps import ordered
from diffgrid.decisions.results import STUDIES, Results

STUDY = STUDIES / "monsters-25-steps-guidance-3.json.gz"
LONGER = STUDIES / "monsters-50-steps-guidance-3.json.gz"
PICTURE = Path(__file__).parent / "decisions.png"
README = Path(__file__).parents[1] / "README.md"
WORDS = re.compile(r"^\*\*In this world\*\*.*?(?=\n\n)", re.M | re.S)


def in_words(found: Results, longer: Results) -> str:
    """What a study found, and whether one with more steps found the same, in Markdown."""
    plan, told = found.plan, found.decisions
    factors = ordered(told.factors)
    places = []
    for factor in factors:
        if (half := factor.half) and half.interval:
            t, low, high = (f"{place.timestep:.0f}" for place in (half.at, *half.interval))
            places.append(f"{words(factor.factor)} {t} ({low} to {high})")
    last, (step, phi) = factors[-1], list(factors[-1].agreement.items())[-1]
    groups, others = ([set(tier) for tier in each.decisions.tiers] for each in (found, longer))
    branches = found.trees * len(plan.rows) * plan.columns
    return fill(
        f"**In this world**, with guidance {plan.spec.guidance_scale:g} and "
        f"{plan.spec.num_inference_steps} steps of DDIM with eta {plan.spec.eta:g} "
        f"({found.trees} trunks, {branches:,} branches), factors are half decided at these "
        f"timesteps (95 % intervals): {', '.join(places)}. "
        f"At t ≈ {told.levels.timestep[step]:.0f}, {100 * (1 - phi.value):.0f} % of all pairs of "
        f"branches still disagree about the last, {words(last.factor)}. {told.order()} "
        f"{longer.plan.spec.num_inference_steps} steps from the same seeds give "
        f"{'the same' if groups == others else 'other'} groups.",
        160,
    )


def shipped() -> str:
    """The same of those that ship."""
    found, longer = (Results.from_record(file.read_bytes()) for file in (STUDY, LONGER))
    return in_words(found, longer)


def main() -> None:
    found = Results.from_record(STUDY.read_bytes())
    PICTURE.write_bytes(to_png(chart(found), found))
    README.write_text(WORDS.sub(lambda _: shipped(), README.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
