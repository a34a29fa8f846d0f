"""Which engine computes: the one place to say so."""

from diffgrid.engine.local import LocalEngine
from diffgrid.engine.protocol import Engine
from diffgrid.store.forgiving import TrajectoryStore


def choose_engine(store: TrajectoryStore, device: str | None = None) -> Engine:
    """An engine on this store; see `LocalEngine` for devices.

    Raises:
        BadInput: no device has this name.
    """
    return LocalEngine(store, device)
