"""Who can open an address."""

import ipaddress
from contextlib import suppress
from typing import Literal
from urllib.parse import urlsplit

Reach = Literal["machine", "network", "everyone"]

# Who can open an address that not everyone can.
OPENED_BY: dict[Reach, str] = {
    "machine": "This address is of this machine alone: nobody else can open it.",
    "network": "This address is of your own network: nobody outside can open it.",
}


def reach(address: str) -> Reach:
    """Whether only this machine can open it, or those in its network too, or everyone."""
    host = urlsplit(address).hostname or ""
    with suppress(ValueError):
        number = ipaddress.ip_address(host)
        if number.is_loopback or number.is_unspecified:
            return "machine"
        return "everyone" if number.is_global else "network"
    if host == "localhost" or host.endswith(".localhost"):
        return "machine"
    # A name of one word, or of these endings, is no other network's.
    own = "." not in host or host.endswith((".local", ".lan", ".internal", ".home.arpa"))
    return "network" if own else "everyone"
