"""Draw the README's picture of what is decided when, from a study that ships.

python -m docs.make_decisions
"""

from pathlib import Path

from diffgrid.decisions.chart_png import to_png
from diffgrid.decisions.charts import chart
from diffgrid.decisions.results import STUDIES, Results

STUDY = STUDIES / "monsters-25-steps-guidance-3.json.gz"
PICTURE = Path(__file__).parent / "decisions.png"


def main() -> None:
    found = Results.from_record(STUDY.read_bytes())
    told = found.to_dict()
    PICTURE.write_bytes(to_png(chart(found), told["run"] | told["study"]))


if __name__ == "__main__":
    main()
