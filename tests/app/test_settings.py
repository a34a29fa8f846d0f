"""What Streamlit reads of `.streamlit/config.toml`, which a wheel holds too, and is told later."""

from collections.abc import Iterator

import pytest
from streamlit import config
from streamlit.testing.v1 import AppTest

from diffgrid.app.uploads import MOST
from tests.app import driver


@pytest.fixture(autouse=True)
def _as_written() -> Iterator[None]:
    config.get_config_options(force_reparse=True)
    yield
    config.get_config_options(force_reparse=True)


def test_what_a_browser_sends_is_capped() -> None:
    config.get_config_options(force_reparse=True)  # a page may have been run here (`uploads`)
    caps = ("maxUploadSize", "maxWidgetStateSize", "maxMessageSize")
    assert [config.get_option(f"server.{cap}") for cap in caps] == [0, 5, 100]  # MB


@pytest.mark.slow
@pytest.mark.parametrize(("public", "most"), [("0", MOST), ("1", 0)])
def test_files_are_taken_of_the_owner_alone(
    app: AppTest, monkeypatch: pytest.MonkeyPatch, public: str, most: int
) -> None:
    """By Streamlit's route too, which is there whatever a page shows."""
    monkeypatch.setenv("DIFFGRID_PUBLIC", public)
    driver.run(app)
    assert config.get_option("server.maxUploadSize") == most
