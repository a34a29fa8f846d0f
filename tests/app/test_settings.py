"""What Streamlit reads of `.streamlit/config.toml`, which a wheel holds too."""

from streamlit import config


def test_what_a_browser_sends_is_capped() -> None:
    config.get_config_options(force_reparse=True)  # a page may have been run here (`uploads`)
    caps = ("maxUploadSize", "maxWidgetStateSize", "maxMessageSize")
    assert [config.get_option(f"server.{cap}") for cap in caps] == [0, 5, 100]  # MB
