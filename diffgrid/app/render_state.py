"""What the grid's component and the history under it are sent: the session, as a message each."""

from functools import partial

from diffgrid.api import recipe
from diffgrid.app.session.change import changeable
from diffgrid.app.session.journey import what_changed
from diffgrid.app.session.prompts import prompts_of
from diffgrid.app.session.session import Session
from diffgrid.app.text import cost, progress
from diffgrid.browser.message import GridState, message
from diffgrid.browser.protocol import ImagePool
from diffgrid.limits import Limits
from diffgrid.models import prompt_words
from diffgrid.models.registry import find_model
from diffgrid.sharing.address import command, to_query
from diffgrid.sharing.recipe import unfinished
from diffgrid.spec.path import format_path


def render_state(mine: Session) -> bytes:
    """The view as far as it is made; blanks where it was not asked for yet."""
    grid = mine.grid or mine.view.grid()
    snapshot = job.snapshot() if (job := mine.job) else None
    seen = mine.seen()
    model, starred = find_model(grid.spec.model), mine.starred()
    noisy = {path: pictures for path in grid.paths if (pictures := mine.noisy(path))}
    state = GridState(
        grid,
        snapshot.paths if snapshot else {},
        mine.made(),
        recipe=recipe(grid.spec, grid.path)[1:],
        about=lambda path: {"recipe": command(mine.view, path), "starred": path in starred},
        levels=mine.levels,
        noisy=noisy,
        lane=mine.lane,
        running=mine.running,
        stopped=snapshot.state in ("failed", "cancelled") if snapshot else not mine.request.offer,
        status=progress(snapshot, grid.spec.model) if snapshot else "",
        fraction=snapshot.sampled / max(1, snapshot.to_sample) if snapshot else 0.0,
        cost=cost(snapshot) if snapshot else "",
        note=mine.note,
        texts=unfinished(mine.view, grid.spec),
        before=to_query(before) if (before := mine.history.before) else None,
        can_redo=mine.history.after is not None,
        max_columns=Limits.from_environment().max_columns,
        prompts=prompts_of(grid.spec.model),
        change=changeable(mine.view, grid.path),
        labels=seen or {},
        signs=model.signs if seen else {},
        labelling=seen is None,
        named=partial(prompt_words.named, model, grid.spec),
        acted=mine.inbox.receipt,
    )
    return message(state, mine.sent_images)


def render_history(mine: Session) -> bytes:
    """All grids of the journey, as `HistoryHead` in history.js has them."""
    pool, journey = ImagePool(), mine.history.journey
    views = list(journey)
    thumbnails = mine.thumbnails.look(views, journey.here, mine.request.keys)
    stars = not Limits.from_environment().public
    starred = mine.thumbnails.starred(views) if stars else set()
    nodes = [
        {
            "above": above,
            "changes": changes,
            "words": what_changed(view, journey.above(view)),
            "path": format_path(view.path),
            "picture": pool.put(thumbnails.get(view)),
            "starred": view in starred,
        }
        for view, (above, changes) in zip(views, journey.kept(), strict=True)
    ]
    header = {
        "nodes": nodes,
        "at": views.index(journey.here),
        "taken_in": journey.taken_in,
        "more": len(thumbnails) < len(views),
        "stars": stars,
    }
    return pool.pack(header, mine.sent_thumbnails)
