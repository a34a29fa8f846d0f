"""The list of models: what is here, what can be fetched, and what each of them takes."""

from collections.abc import Iterator
from dataclasses import dataclass

from diffgrid.errors import BadInput
from diffgrid.models.folder import Model
from diffgrid.models.hub_list import HubModel
from diffgrid.models.memory import BYTES, working_memory
from diffgrid.models.registry import named, to_fetch, trouble

TO_FETCH = "to be fetched"


@dataclass(frozen=True)
class Entry:
    """One line of the list."""

    name: str
    place: str  # where it is
    trouble: str | None = None  # why it cannot be used; then no more is known
    pipeline: str = ""
    side: int | None = None  # pixels; None where the model does not say
    size: int = 0  # bytes on disk
    licence: str = ""
    parameters: int = 0

    def memory(self, dtype: str) -> int:
        """Bytes that it takes with one picture of its own size, about."""
        side = self.side or 0
        return self.parameters * BYTES[dtype] + working_memory(dtype, side, side)


def entries() -> Iterator[Entry]:
    """All that has a name here, and what can be fetched."""
    here = set()
    for model in named():
        here.add(model.name)
        yield _entry(model)
    yield from (_offer(hub) for hub in to_fetch() if hub.id not in here)


def _entry(model: Model) -> Entry:
    if why := trouble(model):
        return Entry(model.name, model.place, why)
    try:
        side = model.side
    except BadInput:
        side = None
    return Entry(
        model.name,
        model.place,
        pipeline=model.index["_class_name"],
        side=side,
        size=model.size,
        licence=model.settings.get("licence", "licence unknown"),
        parameters=model.numbers.total(),
    )


def _offer(hub: HubModel) -> Entry:
    return Entry(
        hub.id,
        TO_FETCH,
        pipeline=hub.pipeline,
        side=hub.side,
        size=hub.size,
        licence=hub.licence,
        parameters=hub.parameters,
    )
