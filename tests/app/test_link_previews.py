"""What a posted link shows: on a server of its own, and drawn from what is stored alone."""

from __future__ import annotations

import io
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from http.client import HTTPMessage
from pathlib import Path as File
from urllib.parse import urlencode

import pytest
import streamlit
from PIL import Image, ImageChops
from starlette.requests import Request

from diffgrid.app import link_previews, state
from diffgrid.records.frames import FRAMES
from diffgrid.sharing.address import to_query
from diffgrid.sharing.view import View
from diffgrid.spec.run import key
from diffgrid.store.bundled import Bundled
from diffgrid.store.forgiving import TrajectoryStore
from tests.app import browsing

OTHER = View.default().with_options(prompt="a monster of somebody else's")
HOSTILE = '"><script>alert(1)</script>'
ROOT = File(__file__).parents[2]

NOTHING_IS_SAMPLED = """
import sys
from diffgrid.app.link_previews import card

sizes = [len(card(query)[0]) for query in ({}, {"prompt": "a red monster"}, {"steps": "no"})]
assert sizes[0] == sizes[2] != sizes[1]
assert "torch" not in sys.modules
"""


class Head(HTMLParser):
    """What stands in a page's head: its title, its scripts, and what it says of itself."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.said: dict[str, str] = {}
        self.titles: list[str] = []
        self.scripts: list[str | None] = []
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self._inside = tag
        if tag == "script":
            self.scripts.append(named.get("src"))
        if tag == "meta" and (name := named.get("property") or named.get("name")):
            self.said[name] = named["content"] or ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "title":
            self.titles.append(data)


def ask(address: str, method: str = "GET", **headers: str) -> tuple[HTTPMessage, bytes]:
    request = urllib.request.Request(address, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200
        return answer.headers, answer.read()


def head(address: str, **headers: str) -> Head:
    return Head(ask(address, **headers)[1].decode())


def opened(picture: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(picture))
    assert (image.format, image.size) == ("JPEG", (1200, 630))
    return image.convert("RGB")


def differs(one: Image.Image, other: Image.Image) -> bool:
    """Whether anybody would see it."""
    extrema = ImageChops.difference(one, other).getextrema()
    return max(high for _, high in extrema) > 64  # type: ignore[misc]


def tree(picture: bytes) -> Image.Image:
    """The half of a card beside its words."""
    return opened(picture).crop((500, 0, 1200, 630))


def put(store: TrajectoryStore, view: View, pictures: bool = True) -> set[str]:
    """Store a whole grid: what is bundled of the first, its pictures too or its arrays alone."""
    bundled, first, grid = Bundled(), View.default().grid(), view.grid()
    for path in grid.paths:
        trajectory = bundled.get(key(first.spec, path))
        drawn = bundled.get_frames(key(first.spec, path), bundled.decoder)
        assert trajectory
        assert drawn
        store.add(replace(trajectory, spec=grid.spec))
        if pictures:
            store.add_frames(key(grid.spec, path), FRAMES, *drawn)
    return {key(grid.spec, path) for path in grid.paths}


@pytest.fixture
def store(cache_directory: File, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrajectoryStore]:
    opened = TrajectoryStore.default()
    monkeypatch.setattr(state, "store", lambda: opened)
    monkeypatch.setattr(link_previews, "_cards", {})
    yield opened
    opened.close()


@pytest.mark.slow
def test_a_posted_link_shows_its_prompt_and_its_own_grid(tmp_path: File) -> None:
    kept = TrajectoryStore(tmp_path / "cache")
    stored = put(kept, OTHER)
    with browsing.server(tmp_path) as address:
        first = head(address)
        assert first.titles == ["Branching grid · diffgrid"]
        assert first.said["og:title"] == "Paths not taken"
        assert first.said["twitter:card"] == "summary_large_image"
        headers, first_card = ask(first.said["og:image"])
        assert headers["Cache-Control"] == "public, max-age=3600"

        other = head(f"{address}/?{urlencode(to_query(OTHER))}")
        assert other.titles == ["Branching grid · a monster of somebody else's · diffgrid"]
        assert other.said["og:title"] == "“a monster of somebody else's”"
        _, other_card = ask(other.said["og:image"])
        # It was made of the same pictures, under other words.
        assert not differs(tree(other_card), tree(first_card))
        assert differs(opened(other_card), opened(first_card))

        hostile = head(f"{address}/strip?{urlencode({'prompt': HOSTILE})}")
        assert hostile.titles == [f"Trajectory strip · {HOSTILE} · diffgrid"]
        assert hostile.said["og:title"] == f"“{HOSTILE}”"
        assert hostile.said["og:image:alt"].endswith(HOSTILE)
        index = File(streamlit.__file__).parent / "static" / "index.html"
        assert hostile.scripts == Head(index.read_text("utf-8")).scripts

        # What is refused has the first grid's card, and says nothing else.
        refused = head(f"{address}/?{urlencode({'prompt': HOSTILE, 'steps': 'no'})}")
        assert ask(refused.said.pop("og:image"))[1] == first_card
        said = {name: text for name, text in first.said.items() if name != "og:image"}
        assert (refused.titles, refused.said) == (first.titles, said)
        assert first.said["og:image:alt"].endswith(View.default().spec.prompt)

        missing = head(f"{address}/?prompt=a+red+monster")
        headers, blank = ask(missing.said["og:image"])
        assert headers["Cache-Control"] == "public, max-age=60"  # it may be drawn soon
        assert differs(tree(blank), tree(first_card))

        headers, nothing = ask(first.said["og:image"], method="HEAD")
        assert (headers["Content-Length"], nothing) == (str(len(first_card)), b"")
        assert ask(f"{address}/decisions", method="HEAD")[1] == b""
    assert {info.key for info in kept.runs()} == stored
    kept.close()


@pytest.mark.slow
def test_links_are_whole_behind_a_path_and_a_proxy(tmp_path: File) -> None:
    with browsing.server(tmp_path, "/toys/grid") as address:
        picture = head(f"{address}/?seed=8&embed=true").said["og:image"]
        assert picture == f"{address}/card.jpg?seed=8"
        opened(ask(picture)[1])
        assert head(f"{address}/compare").said["og:image"] == f"{address}/card.jpg"
        assert head(address).said["og:image"] == f"{address}/card.jpg"

        proxied = {"Host": "toys.example.org", "X-Forwarded-Proto": "https"}
        expected = "https://toys.example.org/toys/grid/card.jpg"
        assert head(f"{address}/", **proxied).said["og:image"] == expected
        # Through a second proxy, which is asked in plain words: the first is what the visitor met.
        proxied["X-Forwarded-Proto"] = "https, http"
        assert head(f"{address}/", **proxied).said["og:image"] == expected
        assert head(f"{address}/", Host=HOSTILE).said["og:image"] == "/toys/grid/card.jpg"


@pytest.mark.slow
def test_nothing_is_sampled_for_a_robot() -> None:
    subprocess.run([sys.executable, "-c", NOTHING_IS_SAMPLED], cwd=ROOT, check=True)


def test_strangers_see_what_the_owner_keeps_and_nothing_of_each_other(
    store: TrajectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = put(store, OTHER)
    first, _ = link_previews.card({})
    own, whole = link_previews.card(to_query(OTHER))
    assert whole
    assert not differs(tree(own), tree(first))

    monkeypatch.setenv("DIFFGRID_PUBLIC", "1")
    hidden, whole = link_previews.card(to_query(OTHER))
    assert not whole
    unknown, _ = link_previews.card(to_query(OTHER.with_options(seed=1)))
    assert not differs(tree(hidden), tree(unknown))
    assert link_previews.card({}) == (first, True)

    for each in made:
        store.save(each, "kept")
    assert link_previews.card(to_query(OTHER)) == (own, True)


def test_a_card_that_was_drawn_before_the_pictures_came_is_drawn_again(
    store: TrajectoryStore,
) -> None:
    first, _ = link_previews.card({})
    put(store, OTHER, pictures=False)
    blank, whole = link_previews.card(to_query(OTHER))
    assert not whole
    assert differs(tree(blank), tree(first))
    put(store, OTHER)
    drawn, whole = link_previews.card(to_query(OTHER))
    assert whole
    assert not differs(tree(drawn), tree(first))


@pytest.mark.parametrize(
    "query",
    [
        {"rows": ""},
        {"rows": "1", "columns": "1"},
        {"rows": ",".join(map(str, range(20))), "columns": "60"},
        {"height": "64", "width": "256"},
        {"prompt": ""},
        {"prompt": "x" * 1500},
        {"prompt": "怪\u202e\x00\n" * 40},
        {"path": "5.2/9.1"},
    ],
    ids=str,
)
def test_a_grid_of_any_shape_has_a_card(store: TrajectoryStore, query: dict[str, str]) -> None:
    picture, _ = link_previews.card(query)
    opened(picture)


def test_a_query_too_long_counts_as_none() -> None:
    def asked(text: str) -> dict[str, str]:
        scope = {"type": "http", "query_string": text.encode(), "path": "/", "headers": []}
        scope |= {"server": ("localhost", 80), "scheme": "http"}
        return link_previews._asked(Request(scope))

    assert asked("seed=8&utm_source=x&seed=9") == {"seed": "9"}
    assert asked(f"seed=8&prompt={'x' * link_previews.LONGEST}") == {}


def test_only_the_last_cards_are_kept(
    store: TrajectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[bytes] = []

    def draw(*_: object) -> bytes:
        drawn.append(b"%d" % len(drawn))
        return drawn[-1]

    monkeypatch.setattr(link_previews, "_drawn", draw)
    for seed in (*range(link_previews.MOST_CARDS), 0, link_previews.MOST_CARDS, 0):
        link_previews.card(to_query(replace(OTHER, seed=seed)))
    assert len(drawn) == link_previews.MOST_CARDS + 1
    assert len(link_previews._cards) == link_previews.MOST_CARDS
    link_previews.card(to_query(replace(OTHER, seed=1)))
    assert len(drawn) == link_previews.MOST_CARDS + 2
