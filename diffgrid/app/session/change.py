"""What the dialog starts from that changes the prompt on the way (`dialog.js`)."""

from typing import Any

from diffgrid.sharing.view import View
from diffgrid.spec.path import Path
from diffgrid.spec.run import conditions


def changeable(view: View, path: Path) -> dict[str, Any] | None:
    """Where this path of the view can go on under another prompt, and what it ends under now.

    None where the model has none.
    """
    if not view.can_change:
        return None
    spec = view.spec
    now = conditions(spec, path)
    return {
        "steps": list(spec.fork_steps),
        "prompt": now.prompt,
        "guidance": now.guidance_scale,
    }
