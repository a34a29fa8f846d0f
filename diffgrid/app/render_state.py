"""What the grid's component is sent: the session, put into one message."""

from functools import partial

from diffgrid.api import recipe
from diffgrid.app.session.change import changeable
from diffgrid.app.session.prompts import prompts_of
from diffgrid.app.session.session import Session
from diffgrid.app.text import cost, progress
from diffgrid.browser.message import GridState, message
from diffgrid.limits import Limits
from diffgrid.models import prompt_words
from diffgrid.models.registry import find_model
from diffgrid.sharing.address import command, to_query
from diffgrid.sharing.recipe import unfinished


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
