"""A journey as a film: a card of each grid that was visited, from what is stored of it."""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

from PIL.Image import Image

from diffgrid.app.card import draw, found
from diffgrid.errors import BadInput, DiffgridError
from diffgrid.limits import Limits
from diffgrid.pictures.animations import chosen_moments
from diffgrid.sharing import recipe
from diffgrid.sharing.view import View
from diffgrid.spec.grid import Grid
from diffgrid.spec.run import key
from diffgrid.store.forgiving import TrajectoryStore

FRAME_MS = 1100  # long enough to find what is new
SMALLER = 2  # than a card, by this factor


def replay(
    store: TrajectoryStore,
    views: Sequence[View],
    own: Collection[str],
    film: Callable[[Sequence[Image], str, int], bytes],
) -> bytes:
    """The grids in this order, by `to_gif` or `to_webp`; the last one's recipe goes along.

    Those whose trunk is not stored are left out. Of a public server's pictures a visitor is shown
    those of their `own` keys, and what is kept.

    Raises:
        BadInput: no trunk is stored any more.
        DiffgridError: the cache cannot be used.
    """
    public = Limits.from_environment().public

    def may_show(name: str) -> bool:
        return store.has(name) and (not public or name in own or store.is_kept(name))

    shown: list[tuple[View, Grid]] = []
    for view in views:
        with suppress(DiffgridError):  # a model that is gone, a cache that fails
            grid = view.grid()
            if may_show(key(grid.spec, grid.path)):
                shown.append((view, grid))
    if not shown:
        raise BadInput("no grid of this journey is stored any more: go to one of them again.")
    chosen = [shown[index] for index in chosen_moments(len(shown))]
    pictures = [draw(grid, found(store, grid, may_show)).reduce(SMALLER) for _, grid in chosen]
    return film(pictures, recipe.write(chosen[-1][0]), FRAME_MS)
