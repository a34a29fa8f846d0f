"""What a posted link shows: the prompt, and the grid's own picture.

Streamlit gives one HTML file for every address, and whoever makes previews of links runs no script.
Here each page's address gets that file with a title and a picture's address in its head, and
`/card.jpg` with the same query is the picture: drawn from what is stored, for nothing is ever
sampled for a robot. What is not stored stays blank, and an address that asks for what cannot be
gets the first grid's card and words.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from html import escape
from pathlib import Path as File
from urllib.parse import urlencode

import streamlit as st
from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from streamlit.config import get_option

from diffgrid.app.card import draw, found, shown_paths
from diffgrid.app.session.page import PAGES, Page, in_title, title
from diffgrid.errors import DiffgridError
from diffgrid.limits import Limits
from diffgrid.pictures.figures import CARD
from diffgrid.records import frames
from diffgrid.records.frames import Frames
from diffgrid.sharing.address import KEYS, from_query
from diffgrid.sharing.view import View
from diffgrid.spec.grid import Grid
from diffgrid.spec.path import Path
from diffgrid.store.forgiving import TrajectoryStore

WORDS = (
    "A picture by a diffusion model, and the paths it did not take. "
    "Hover one and it plays; click it, and the rows below leave it anew."
)
LONGEST = 4000  # characters of a query; a longer one counts as none
MOST_CARDS = 32  # kept

_HTML = File(st.__file__).parent / "static" / "index.html"
_HOST = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]+)?", re.IGNORECASE)
_drawing = CapacityLimiter(1)  # of all threads, so that who asks for many holds up no page
# Those asked for last, of some 100 KB each, by the view and which of its pictures were there.
_cards: dict[tuple[View, frozenset[Path]], bytes] = {}


def routes() -> list[Route]:
    """The pages' addresses, and their cards'."""
    base = f"/{get_option('server.baseUrlPath').strip('/')}".rstrip("/")
    pages = [Route(f"{base}/{page.address}", _page(page, base)) for page in PAGES]
    return [*pages, Route(f"{base}/card.jpg", _card)]


def _page(page: Page, base: str) -> Callable[[Request], Awaitable[Response]]:
    html = _HTML.read_text("utf-8").replace("<title>Streamlit</title>", "")
    before, end, after = html.partition("</head>")

    async def give(request: Request) -> Response:
        query = _asked(request)
        view = await to_thread.run_sync(_view, query)
        shown = in_title(view.spec.prompt)
        prompt = "" if view == View.default() else shown
        card = f"{_origin(request)}{base}/card.jpg" + (f"?{urlencode(query)}" if query else "")
        head = f"<title>{escape(title(page, prompt))}</title>" + "".join(
            f'<meta {kind}="{label}" content="{escape(content)}" />'
            for kind, label, content in (
                ("name", "description", WORDS),
                ("property", "og:type", "website"),
                ("property", "og:site_name", "diffgrid"),
                ("property", "og:title", f"“{prompt}”" if prompt else "Paths not taken"),
                ("property", "og:description", WORDS),
                ("property", "og:image", card),
                ("property", "og:image:type", "image/jpeg"),
                ("property", "og:image:width", str(CARD[0])),
                ("property", "og:image:height", str(CARD[1])),
                ("property", "og:image:alt", f"A grid of pictures that branch off one: {shown}"),
                ("name", "twitter:card", "summary_large_image"),
            )
        )
        return HTMLResponse(before + head + end + after, headers={"Cache-Control": "no-cache"})

    return give


async def _card(request: Request) -> Response:
    picture, whole = await to_thread.run_sync(card, _asked(request), limiter=_drawing)
    # What is not whole may be soon: whoever posts a link has often just opened it.
    kept = {"Cache-Control": f"public, max-age={3600 if whole else 60}"}
    return Response(picture, media_type="image/jpeg", headers=kept)


def _asked(request: Request) -> dict[str, str]:
    """What the query says of a view."""
    if len(request.url.query) > LONGEST:
        return {}
    return {name: text for name, text in request.query_params.items() if name in KEYS}


def _view(query: dict[str, str]) -> View:
    """What it asks for, or else the first grid's."""
    try:
        return from_query(query)
    except DiffgridError:
        return View.default()


def _origin(request: Request) -> str:
    """Where the server is for whoever asks: by the host they named.

    That a proxy before it speaks https is taken from anybody: it changes their own answer alone.
    Of several, the first is the one that they met.
    """
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        return ""
    met, _, _ = request.headers.get("x-forwarded-proto", "").partition(",")
    secure = "https" in (request.url.scheme, met.strip())
    return f"{'https' if secure else 'http'}://{host}"


def card(query: dict[str, str]) -> tuple[bytes, bool]:
    """The card of a grid as JPEG, and whether all of it is drawn."""
    view = _view(query)
    grid = view.grid()
    try:
        store = _store()
        # Strangers are shown nothing of one another's.
        pictures = found(
            store, grid, store.is_kept if Limits.from_environment().public else store.has
        )
    except DiffgridError:  # the cache fails
        pictures = {}
    which = view, frozenset(pictures)
    picture = _cards.pop(which, None) or _drawn(grid, pictures)
    _cards[which] = picture  # the newest again
    if len(_cards) > MOST_CARDS:
        del _cards[next(iter(_cards))]
    return picture, pictures.keys() == shown_paths(grid)


def _drawn(grid: Grid, pictures: Mapping[Path, Frames]) -> bytes:
    return frames.encode(draw(grid, pictures), format="JPEG", quality=90, subsampling=0)


def _store() -> TrajectoryStore:
    from diffgrid.app.state import store  # here: it brings pandas, and a server listens without

    return store()
