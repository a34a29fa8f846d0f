"""Make the studies that ship with the app: when is what decided, in the monsters' world.

    python -m training.studies

An hour or so on two cores. What the user's cache holds of them is used: stopped and started again,
it goes on with the next tree. The prompt leaves everything open, so that every factor has a curve.
For such a prompt guidance does nothing (with 1 and 3, 97 % of all labels were the same), so there
is no study of another guidance.
"""

from tqdm import tqdm

from diffgrid.decisions.results import STUDIES, results
from diffgrid.decisions.study import Plan, begin_study
from diffgrid.engine.choose import choose_engine
from diffgrid.models.registry import specify
from diffgrid.store.forgiving import TrajectoryStore

TRUNKS = 64
PROMPT = "a monster"
# Steps, fork steps, branches at each.
SHAPES = (
    (25, (0, 2, 3, 4, 5, 6, 8, 10, 13, 17), 4),
    (50, (0, 4, 7, 10, 14, 19, 26, 34), 3),
)
GUIDANCE = 3.0


def main() -> None:
    engine = choose_engine(TrajectoryStore.default())
    STUDIES.mkdir(parents=True, exist_ok=True)
    for steps, rows, columns in SHAPES:
        spec = specify(prompt=PROMPT, steps=steps, guidance=GUIDANCE)
        name = f"monsters-{steps}-steps-guidance-{GUIDANCE:g}"
        study = begin_study(engine, Plan(spec, TRUNKS, rows, columns))
        with tqdm(desc=name, total=TRUNKS, unit="tree") as bar:
            while not study.wait(1):
                bar.update(study.snapshot.trees - bar.n)
        if study.snapshot.error:
            raise study.snapshot.error
        found = results(study, TRUNKS, bands=True)
        (STUDIES / f"{name}.json.gz").write_bytes(found.to_record())
        for factor in found.decisions.factors:
            print(f"  {factor.sentence()}")
        print(f"  {found.decisions.order()}")


if __name__ == "__main__":
    main()
