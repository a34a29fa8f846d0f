"""The pages, and what each of them needs of a session."""

from dataclasses import dataclass

LONGEST_IN_TITLE = 80  # characters of a prompt


@dataclass(frozen=True)
class Page:
    """A file of `pages/`, under an address of the same name; the first page has none."""

    file: str
    title: str
    asks_for_grid: bool = True  # whether a view is sampled as soon as it is asked for
    # Whether its path may be any of the grid on view, which it then shows by itself.
    shows_one_path: bool = False
    keys: tuple[str, ...] = ()  # of its query, where that is not the view's

    @property
    def address(self) -> str:
        """Its path on the server."""
        return "" if self == GRID else self.file


GRID = Page("grid", "Branching grid")
STRIP = Page("strip", "Trajectory strip", shows_one_path=True)
COMPARE = Page("compare", "Compare runs", keys=("runs",))
DECISIONS = Page("decisions", "When is it decided?", asks_for_grid=False)
PAGES = (GRID, STRIP, COMPARE, DECISIONS)


def in_title(prompt: str) -> str:
    """A prompt on one line, and not too long."""
    words = " ".join(prompt.split())
    if len(words) <= LONGEST_IN_TITLE:
        return words
    return f"{words[:LONGEST_IN_TITLE].rstrip()}…"


def title(page: Page, prompt: str) -> str:
    """What a browser's tab calls a page."""
    return " · ".join(filter(None, (page.title, in_title(prompt), "diffgrid")))
