"""What Streamlit reads of `.streamlit/config.toml`, which a wheel holds too."""

from streamlit import config


def test_what_a_browser_sends_is_capped() -> None:
    caps = ("maxUploadSize", "maxWidgetStateSize", "maxMessageSize")
    assert [config.get_option(f"server.{cap}") for cap in caps] == [0, 5, 100]  # MB
