"""The runs that a visitor keeps by a star."""

from diffgrid.errors import BadInput
from diffgrid.limits import Limits
from diffgrid.spec.path import Path, describe
from diffgrid.spec.run import RunSpec, key
from diffgrid.store.forgiving import TrajectoryStore


def set_star(store: TrajectoryStore, spec: RunSpec, path: Path, on: bool) -> None:
    """Keep a trajectory for good, or no longer.

    Raises:
        DiffgridError: it is no longer in the cache, there is no room, or it was saved by name.
    """
    if Limits.from_environment().public:
        raise BadInput("this server keeps nothing for its visitors: download the picture.")
    name, star = key(spec, path), f"★ {describe(path)}"[:200]
    saved = store.saved(name)
    if saved is None and on:
        store.save(name, star)
    elif saved is None or on:
        return
    elif saved.saved == star and not saved.note:
        store.unsave(name)
    else:
        raise BadInput(f"this run is saved as “{saved.saved}”: remove it on Compare runs.")
