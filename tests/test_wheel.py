"""What `pip install 'diffgrid[app]'` brings: a wheel that holds the app, and `diffgrid app`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PATIENCE = 120.0  # s; machines that run tests are often busy

pytestmark = pytest.mark.slow


def answer(address: str, running: subprocess.Popen[bytes], log: Path) -> str:
    """What the server answers, as soon as it does."""
    patience = time.monotonic() + PATIENCE
    while time.monotonic() < patience and running.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=PATIENCE) as reply:
                body: bytes = reply.read()
                return body.decode()
        except OSError:  # not yet there, or not well
            time.sleep(0.2)
    raise AssertionError(log.read_text())


def test_the_installed_wheel_starts_the_app_in_any_folder(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", str(ROOT), "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    target = ["--no-deps", "--no-index", "--target", str(installed)]
    subprocess.run([*pip, "install", str(wheel), *target], check=True)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "PYTHONPATH": str(installed),  # before the checkout, where that is installed too
        "STREAMLIT_SERVER_ADDRESS": "127.0.0.1",
        "STREAMLIT_SERVER_HEADLESS": "true",
        "STREAMLIT_SERVER_SCRIPT_HEALTH_CHECK_ENABLED": "true",
    }
    log = tmp_path / "server.log"
    command = [sys.executable, "-m", "diffgrid", "app", f"--port={port}"]
    with log.open("wb") as output:
        running = subprocess.Popen(
            command, cwd=elsewhere, env=environment, stdout=output, stderr=output
        )
    try:
        server = f"http://127.0.0.1:{port}/_stcore"
        assert answer(f"{server}/health", running, log) == "ok"
        assert answer(f"{server}/script-health-check", running, log) == "ok"  # the page ran through
    finally:
        running.terminate()  # the command became the server: nothing is left behind
        assert running.wait(PATIENCE) is not None
    said = log.read_text()
    assert "Traceback" not in said
    assert "usage statistics" not in said  # that line comes without the settings in the wheel
