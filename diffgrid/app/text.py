"""Jobs, studies and sizes in words."""

import re

from diffgrid.engine.protocol import Snapshot
from diffgrid.errors import BadInput
from diffgrid.models.memory import in_words
from diffgrid.models.registry import find_model
from diffgrid.spec.run import RunSpec


def progress(snapshot: Snapshot, model: str) -> str:
    """How far a job of this model is: "96 of 281 evaluations, 12 reused, 3 s left"."""
    if snapshot.state == "queued":
        first = snapshot.before
        told = f": {first} go first" if first > 1 else ": one goes first" if first else ""
        return f"Waiting for its turn{told}"
    if snapshot.state == "loading":
        return f"Loading {model}, {weight(model)} …"
    if snapshot.state == "decoding":
        words = [f"{snapshot.decoded} of {snapshot.to_decode} pictures decoded by the full VAE"]
    else:
        words = [f"{snapshot.sampled} of {snapshot.to_sample} evaluations"]
    if snapshot.reused and snapshot.state != "decoding":
        words.append(f"{snapshot.reused} reused")
    if snapshot.seconds_left is not None:
        words.append(f"{seconds(snapshot.seconds_left)} left")
    return ", ".join(words)


def cost(snapshot: Snapshot) -> str:
    """What a finished job cost, and what sharing saved."""
    count = f"{snapshot.minimum} evaluations"
    if snapshot.reused:
        count += f", {'all' if not snapshot.to_sample else snapshot.reused} reused"
    saved = f"{snapshot.naive - snapshot.minimum} saved by shared beginnings"
    return f"{count} · {saved} · {snapshot.seconds:.1f} s"


def described(spec: RunSpec) -> str:
    """What of a study's settings tells it from others: "guidance 3, 25 steps"."""
    return f"guidance {spec.guidance_scale:g}, {spec.num_inference_steps} steps"


def quoted(spec: RunSpec, most: int = 1000) -> str:
    """Its prompt, of so many characters at most."""
    if not spec.prompt:
        return "an empty prompt"
    return f"“{spec.prompt if len(spec.prompt) <= most else spec.prompt[: most - 1] + '…'}”"


def weight(model: str) -> str:
    """The size of a model's files: "4.3 GB"."""
    try:
        return in_words(find_model(model).size)
    except (BadInput, OSError):  # gone since
        return "of a size not known"


def seconds(count: float) -> str:
    """A duration as people say it."""
    if count < 100:
        return f"{count:.0f} s"
    return f"{count / 60:.0f} min" if count < 5400 else f"{count / 3600:.1f} h"


def plain(text: str) -> str:
    """Text that Streamlit's Markdown shows just as it is: an error may quote anything."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))
