"""What the grids of a journey came to, small: of what is stored, for nothing is sampled for it."""

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress

import numpy as np

from diffgrid.engine.protocol import Engine
from diffgrid.errors import DiffgridError
from diffgrid.limits import Limits
from diffgrid.records.frames import decode, encode_preview
from diffgrid.sharing.view import View
from diffgrid.spec.run import key
from diffgrid.store.pictures import stored_frames

SIDE = 112  # px, drawn at half of that
MOST_AT_ONCE = 8  # that are made for one message; each takes some 10 ms


class Thumbnails:
    """The finished picture in each view's focus, looked for once, and made once."""

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine
        self._keys: dict[View, str] = {}  # which take a millisecond each
        self._made: dict[View, bytes | None] = {}  # None where nothing was stored

    def look(
        self, views: Collection[View], here: View, own: Collection[str]
    ) -> dict[View, bytes | None]:
        """Those that were looked at: some of them, where many are new.

        What was not stored is not looked for again, but for what is on view, `here`: that may have
        been made since. Of a public server's pictures a visitor is shown those of their `own` keys,
        and what is kept.
        """
        made, left = self._made, MOST_AT_ONCE
        for gone in made.keys() - views:
            made.pop(gone)
        for view in views:
            if left and (view not in made or (view == here and made[view] is None)):
                left -= 1
                made[view] = self._look(view, own)
        return {view: made[view] for view in views if view in made}

    def _look(self, view: View, own: Collection[str]) -> bytes | None:
        with suppress(DiffgridError):  # a model that is gone, a cache that fails, a damaged row
            name, store = self.key(view), self._engine().store
            if Limits.from_environment().public and not (name in own or store.is_kept(name)):
                return None
            if frames := stored_frames(store, name):
                return _small(frames.final)
        return None

    def starred(self, views: Iterable[View]) -> set[View]:
        """The views whose focus is kept for good."""
        with suppress(DiffgridError):  # a failing cache is told by the job
            saved = self._engine().store.is_saved
            return {view for view in views if saved(self.key(view))}
        return set()

    def key(self, view: View) -> str:
        """The key of its focus.

        Raises:
            BadInput: its model is gone.
        """
        if view not in self._keys:
            self._keys[view] = key(view.spec, view.path)
        return self._keys[view]

    def put_aside(self) -> None:
        """Give back what is held."""
        self._keys, self._made = {}, {}


def _small(picture: bytes) -> bytes | None:
    image = decode(picture)
    image.thumbnail((SIDE, SIDE))
    return encode_preview(np.asarray(image))
