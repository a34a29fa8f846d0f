"""Views by hypothesis, and prompts that people do write."""

from hypothesis import strategies as st

from diffgrid.sharing.view import View, backs
from diffgrid.spec.grid import row_steps
from diffgrid.spec.path import parse_path
from diffgrid.spec.schedulers import SCHEDULERS
from tests.spec.made import texts as plain

ODD_PROMPTS = (
    "",
    " two  spaces, and one at the end ",
    "a (red:1.3) [monster:0.5] ((hat))",
    "<lora:crayon:0.8> a monster",
    "a monster\r\nin two lines\r\n",
    "a monster\n\nNegative prompt: none\nSteps: 3, Seed: 1",
    "\ttabs\tand\x0bothers\x1b[31m",
    "\u202ea monster from right to left\u202c",
    "before\0after",
    "a \N{MAN}\N{ZERO WIDTH JOINER}\N{ROCKET} and \N{WAVING WHITE FLAG}\ufe0f\u200d\U0001f308",
    "x" * 2000,
    "\N{ROCKET}" * 2000,
    "红色的怪物，戴着帽子",
    "וואו مفلت монстр τέρας",
    "e\u0301 is not é",
    """quotes ' " ` and \\ backslashes \\u003c""",
    "</script><script>alert(1)</script><!-- & &amp;",
    "%2F+%00&prompt=other;seed=8#part?path=5.2",
    '{"schema": 2} $(ls) {{braces}}',
    "--out=/etc/passwd",
    "\ufeffa byte order mark, and \uffff\ufffe",
    "\x7f\x80\x9f\u2028\u2029\xa0",
)

DEFAULT = View.default()
NAMES = [s.name for s in SCHEDULERS if not s.flow and not s.missing()]
texts = (
    plain
    | st.sampled_from(ODD_PROMPTS)
    | st.sampled_from(["--out", "-x", "--", "-1", "@file", "a=b", "'", '"', "$(ls)", "\n"])
)


@st.composite
def views(draw: st.DrawFn) -> View:
    name = draw(st.sampled_from([None, *NAMES]))
    view = DEFAULT.with_options(
        prompt=draw(texts),
        negative_prompt=draw(texts),
        seed=draw(st.integers(0, 2**63 - 1)),
        scheduler=name,
        steps=draw(st.integers(2, 50)),
        guidance=draw(st.floats(0, 1e6)),
    )
    if view.eta is not None:
        view = view.with_options(eta=draw(st.floats(0, 1)))
    if draw(st.booleans()) and (possible := backs(view.loop)):
        view = view.with_fork_kind(draw(st.sampled_from(possible)))
    steps = view.loop.fork_steps
    if rows_possible := list(row_steps(view.loop, view.back)):
        rows = draw(st.sets(st.sampled_from(rows_possible), min_size=1, max_size=4))
        view = view.with_steps(sorted(rows))
    for _ in range(draw(st.integers(0, 3)) if view.rows else 0):
        step, branches = draw(st.sampled_from(view.rows))
        view = view.reroll_cell(step, draw(st.sampled_from(branches)))
    if steps and draw(st.booleans()):
        back = f"-{view.back}" if view.back else ""
        places = [step for step in steps if step - view.back in steps]
        if places:
            view = view.follow(parse_path(f"{draw(st.sampled_from(places))}.3{back}"))
    elif steps and draw(st.booleans()):
        words, guidance = draw(texts)[:1999] + "!", draw(st.floats(0, 1e6))
        view = view.change(draw(st.sampled_from(steps)), words, guidance)
    return view
