"""Who can open an address."""

import pytest

from diffgrid.app.session.reach import Reach, reach


@pytest.mark.parametrize(
    ("host", "opens"),
    [
        ("localhost", "machine"),
        ("app.localhost", "machine"),
        ("127.0.0.1", "machine"),
        ("127.8.8.8", "machine"),
        ("[::1]", "machine"),
        ("0.0.0.0", "machine"),
        ("192.168.1.20", "network"),
        ("10.0.0.3", "network"),
        ("172.20.1.1", "network"),
        ("169.254.3.4", "network"),
        ("[fe80::1]", "network"),
        ("nas", "network"),
        ("printer.local", "network"),
        ("diffgrid.streamlit.app", "everyone"),
        ("8.8.8.8", "everyone"),
        ("[2606:4700::1111]", "everyone"),
        ("127.0.0.1.example.org", "everyone"),
    ],
)
def test_who_can_open_an_address(host: str, opens: Reach) -> None:
    assert reach(f"http://{host}:8501/?seed=7") == opens
    assert reach(f"https://{host}") == opens
