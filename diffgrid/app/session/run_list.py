"""Stored runs in a list: which are found, in which order, and which are compared."""

from base64 import b64encode
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np

from diffgrid.errors import DiffgridError
from diffgrid.models.registry import scheduler_name
from diffgrid.records import frames
from diffgrid.spec.checks import shortened
from diffgrid.spec.path import describe
from diffgrid.store.forgiving import TrajectoryStore
from diffgrid.store.pictures import stored_frames
from diffgrid.store.runs import Imported, RunInfo

MOST_LISTED = 200  # rows; each has a picture
MOST_SHOWN = 4  # runs side by side
THUMBNAIL = 48  # px a side

ORDERS: dict[str, Callable[[RunInfo], Any]] = {
    "Saved first": lambda info: (info.saved is None, -info.created),
    "Newest first": lambda info: -info.created,
    "Prompt": lambda info: (info.spec.prompt, -info.created),
    "Seed": lambda info: (info.spec.seed, -info.created),
    "Steps": lambda info: (info.spec.num_inference_steps, -info.created),
    "Largest first": lambda info: (-info.size, -info.created),
}


def listing(
    infos: Iterable[RunInfo], words: str, order: str, on_top: Collection[str] = ()
) -> list[RunInfo]:
    """The runs in which all `words` are found, in one of `ORDERS`, the keys `on_top` before."""
    found = list(infos)
    if wanted := words.lower().split():
        found = [info for info in found if _has(info, wanted)]
    return sorted(found, key=lambda info: (info.key not in on_top, ORDERS[order](info)))


def shown_to_strangers(infos: Iterable[RunInfo], own: Collection[str], asked: str) -> list[RunInfo]:
    """What a visitor of a public server is shown: what came along, what the server's owner keeps,
    their own runs, whose keys are `own`, and what an address names by whole keys of 8 digits."""
    named = asked.lower().split(",")
    return [
        info
        for info in infos
        if info.bundled or info.saved is not None or info.key in own or info.key[:8] in named
    ]


def first_pair(infos: Sequence[RunInfo], view: str = "") -> list[RunInfo]:
    """What is compared when nobody chose: the run on view, and the newest with another beginning.

    `view` is its key; where it is not listed the newest takes its place. Siblings of one late fork
    look alike, so they come together only where there is nothing else.
    """
    if not infos:
        return []
    first = next((info for info in infos if info.key == view), infos[0])
    others = [info for info in infos if info != first]
    unlike = (info for info in others if _beginning(info) != _beginning(first))
    return [first, *islice((*unlike, *others), 1)]


def named(infos: Iterable[RunInfo], text: str) -> tuple[list[RunInfo], str | None]:
    """The runs that `KEY8,KEY8` names, and one sentence on those that it names in vain."""
    infos, found, lost = list(infos), [], []
    for prefix in dict.fromkeys(part.strip().lower() for part in text.split(",")[: 2 * MOST_SHOWN]):
        fits = [info for info in infos if info.key.startswith(prefix)] if prefix else []
        if len(fits) == 1:
            found.append(fits[0])
        elif prefix:
            lost.append(prefix)
    shown = list(dict.fromkeys(found))[:MOST_SHOWN]
    if not lost:
        return shown, None
    return shown, (
        f"No stored run has the key {shortened(', '.join(lost))}: it was removed, or was made on "
        "another machine. Choose from the table instead."
    )


def address(infos: Iterable[RunInfo]) -> str:
    """The runs as `named` takes them back."""
    return ",".join(info.key[:8] for info in infos)


def to_table(store: TrajectoryStore, infos: Iterable[RunInfo]) -> list[dict[str, Any]]:
    """The rows of the table on the page."""
    return [
        {
            "picture": thumbnail_of(store, info) if info.has_frames else None,
            "name": info.saved,
            "imported": origin(info) or None,
            "prompt": info.spec.prompt,
            "path": describe(info.path),
            "seed": info.spec.seed,
            "scheduler": scheduler_name(info.spec),
            "steps": info.spec.num_inference_steps,
            "guidance": info.spec.guidance_scale,
            "eta": info.spec.eta,
            "when": None if info.bundled else datetime.fromtimestamp(info.created, UTC),
            "size": info.size,
            "note": info.note or None,
            "key": info.key[:8],
        }
        for info in infos
    ]


def label(info: RunInfo) -> str:
    """A run in a few words."""
    name = info.saved or ("" if info.computed or not info.imported else info.imported.name)
    words = [f"{name}:"] if name else []
    words += [f"{describe(info.path)}, seed {info.spec.seed},"]
    words += [f"{info.spec.num_inference_steps} steps, {scheduler_name(info.spec)}"]
    words += [] if info.computed else ["(imported)"]
    return " ".join(words)


def origin(info: RunInfo) -> str:
    """What is said of a run that was imported; nothing of others."""
    if info.imported is None:
        return ""
    word = "imported too" if info.computed else "imported"
    return f"{word} ({info.imported.source})"


def megabytes(count: int) -> str:
    """Bytes as people read them."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


@lru_cache(maxsize=2000)
def _thumbnail(store: TrajectoryStore, key: str, imported: Imported | None) -> str:
    """The finished picture as a data URL; a key's picture never changes, nor that of an import."""
    pictures = stored_frames(store, key, imported is not None)
    if pictures is None:
        raise DiffgridError(f"run {key[:8]} has no pictures.")
    small = frames.decode(pictures.final).resize((THUMBNAIL, THUMBNAIL))
    encoded = b64encode(frames.encode_preview(np.asarray(small))).decode("ascii")
    return f"data:image/webp;base64,{encoded}"


def thumbnail_of(store: TrajectoryStore, info: RunInfo) -> str | None:
    """The finished picture of a run that is listed."""
    return thumbnail(store, info.key, None if info.computed else info.imported)


def thumbnail(store: TrajectoryStore, key: str, imported: Imported | None = None) -> str | None:
    """A run's finished picture as a data URL, small; None where it is not stored."""
    try:
        return _thumbnail(store, key, imported)
    except DiffgridError:  # not kept by the cache: they may be decoded anew
        return None


def _has(info: RunInfo, wanted: Iterable[str]) -> bool:
    """Whether all these words are in what the filter looks in."""
    spec = info.spec
    words = (info.saved or "", info.note, info.key[:8], describe(info.path), spec.prompt)
    came = (origin(info), info.imported.name if info.imported else "")
    settings = (*came, spec.negative_prompt, spec.model, scheduler_name(spec), f"seed {spec.seed}")
    text = " ".join((*words, *settings, f"{spec.num_inference_steps} steps")).lower()
    return all(word in text for word in wanted)


def _beginning(info: RunInfo) -> tuple[Any, ...]:
    """The run without the branches taken: its specification, and where it forks."""
    return info.spec, [fork.step for fork in info.path]
