"""An address to copy, or to hand to the phone's own share sheet (`link.js`); nothing comes back."""

from diffgrid.app.components.shared.mount import component

_link = component("link", '<div class="link"></div>')


def show_link(address: str, title: str) -> None:
    """Mount it; `title` is what the share sheet calls it."""
    _link(key="link", data={"address": address, "title": title})
