"""What one sampling sends to the browser: the websocket's messages, and how much of them is code.

    python -m benchmarks.bytes [--checkout FOLDER]

A fresh server on an empty cache opens the grid that ships; then another seed is asked for, and all
that arrives until its last picture is painted counts.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
GIVE_UP = 240_000  # ms
WHOLE = ".board[data-painted='trunk 16']:not([data-lacking]):not(.running)"
SERVED = """performance.getEntriesByType("resource")
  .filter(({ name }) => name.includes("/bidi-components/"))
  .reduce((sum, { encodedBodySize }) => sum + encodedBodySize, 0)"""


def sampling(checkout: Path, cache: Path) -> dict[str, float]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--server.address=127.0.0.1", f"--server.port={port}", "--server.headless=true"]
    server = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", "streamlit_app.py", *options],
        cwd=checkout,
        env={**os.environ, "DIFFGRID_CACHE": str(cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    code = [file.read_bytes().strip() for file in checkout.glob("diffgrid/**/*.*s")]
    frames: list[bytes] = []

    def hear(data: bytes | str) -> None:
        frames.append(data.encode() if isinstance(data, str) else data)

    try:
        while True:
            assert server.poll() is None, "the server ended"
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.2)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(GIVE_UP)

            page.on("websocket", lambda socket: socket.on("framereceived", hear))
            page.goto(f"http://127.0.0.1:{port}/")
            page.locator(WHOLE).wait_for()
            page.get_by_label("Seed", exact=True).fill("8")
            frames.clear()
            page.keyboard.press("Enter")
            page.locator(".board.running").wait_for()
            page.locator(WHOLE).wait_for()
            page.locator(".seen .factor").first.wait_for()
            served: float = page.evaluate(SERVED)
            browser.close()
    finally:
        server.kill()
        server.wait()
    grids = [frame for frame in frames if b"diffgrid.board" in frame or b"diffgrid.grid" in frame]
    return {
        "messages": len(frames),
        "messages with the grid": len(grids),
        "bytes": sum(map(len, frames)),
        "bytes of code": sum(len(text) for frame in frames for text in code if text in frame),
        "bytes of files that were served": served,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkout", type=Path, default=ROOT, help="another state of the product")
    checkout = parser.parse_args().checkout.resolve()
    with tempfile.TemporaryDirectory() as cache:
        print(json.dumps(sampling(checkout, Path(cache)), indent=2))


if __name__ == "__main__":
    main()
