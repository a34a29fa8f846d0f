"""An uploaded picture: what a session makes of it."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from diffgrid.app.session.session import Session
from diffgrid.engine.local import LocalEngine
from diffgrid.errors import BadInput
from diffgrid.sharing import photo
from diffgrid.sharing.address import command, from_query, to_query
from diffgrid.store.forgiving import TrajectoryStore


@pytest.fixture
def session(tmp_path: Path) -> Session:
    engine = LocalEngine(TrajectoryStore(tmp_path), "cpu")
    return Session(lambda: engine)


def uploaded(width: int = 300, height: int = 200) -> bytes:
    file = BytesIO()
    Image.new("RGB", (width, height), "teal").save(file, "JPEG")
    return file.getvalue()


def test_it_is_kept_as_the_view_names_it(session: Session) -> None:
    assert session.begun_with() is None
    view = session.begin_with(uploaded())
    session.history.go(view)
    kept = session.begun_with()
    assert kept is not None
    assert photo.from_png(kept, view.options["image"]).size == (128, 128)
    assert view.grid().spec.length == view.loop.length == 20  # .8 of 25
    assert [step for step, _ in view.rows] == [1, 4, 8]  # shares of what is left


def test_an_address_names_it_by_its_digest_and_its_strength(session: Session) -> None:
    view = session.begin_with(uploaded()).with_options(strength=0.6)
    query = to_query(view)
    assert (query["image"], query["strength"]) == (view.options["image"], "0.6")
    assert from_query(query) == view
    assert f"--image {query['image']} --strength 0.6" in command(view, ())


def test_leaving_it_out_leads_back_to_noise(session: Session) -> None:
    view = session.begin_with(uploaded()).with_options(strength=0.6)
    assert view.with_options(image="", strength=0.8) == session.form


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"image": "/etc/passwd"}, "give 64 hexadecimal digits"),
        ({"image": "A" * 64}, "give 64 hexadecimal digits"),
        ({"strength": "0.5"}, "give an image too"),
        ({"image": "0" * 64, "strength": "nan"}, "use a number from 0 to 1"),
        ({"image": "0" * 64, "strength": "7"}, "use a number from 0 to 1"),
        ({"image": "0" * 64, "strength": "0"}, "leaves none of 25 steps"),
        ({"image": "0" * 64, "strength": "0.2", "rows": "8"}, "row 8 is not allowed: with 5"),
    ],
)
def test_an_address_that_says_otherwise_is_refused(query: dict[str, str], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        from_query(query)


def test_what_is_no_picture_is_a_sentence(session: Session) -> None:
    with pytest.raises(BadInput, match="the photo is no picture that is read here"):
        session.begin_with(b"hello")


def test_a_public_server_takes_none(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """By no way: neither an upload, nor an address of one that its owner has."""
    view = session.begin_with(uploaded())
    monkeypatch.setenv("DIFFGRID_PUBLIC", "1")
    with pytest.raises(BadInput, match="image is not allowed on a public server"):
        session.begin_with(uploaded(200, 300))
    with pytest.raises(BadInput, match="image is not allowed on a public server"):
        from_query(to_query(view))
