"""How soon the app answers, in Debian's Chromium: opening, hovering, clicking, before and while it
samples.

    python -m benchmarks.app --repeat 3

Each round starts a server of its own, on an empty cache. Times are in milliseconds.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
GIVE_UP = 120_000  # ms

# Components live in shadow roots of their own.
FIND = """
  const find = (root, css) => {
    for (const e of root.querySelectorAll("*")) {
      if (e.matches(css)) return e;
      const inside = e.shadowRoot && find(e.shadowRoot, css);
      if (inside) return inside;
    }
  };
"""

# Measured inside the page: asking from outside costs more than what is asked.
PAINTED = (
    "([act, wanted]) => new Promise((done) => {"
    + FIND
    + """
  const began = performance.now();
  const target = find(document, act[1]);
  if (act[0] === "click") target.click();
  else target.dispatchEvent(new PointerEvent(act[0], { pointerType: "mouse" }));
  const look = () => {
    if (find(document, wanted)) done(performance.now() - began);
    else requestAnimationFrame(look);
  };
  look();
})"""
)

# From the document's first script on, so that no frame is missed: when what was wanted was there.
SEEN = (
    "((wanted) => {"
    + FIND
    + """
  const look = () => {
    if (find(document, wanted)) window.seen = performance.timeOrigin + performance.now();
    else requestAnimationFrame(look);
  };
  look();
})"""
)

UNDO = "button[aria-label='Undo']"


def cell(path: str) -> str:
    return f"[aria-label^='branch {path} ']"


def painted(path: str) -> str:
    return f".board[data-painted='{path} 16']"


def measure(page: Page, act: str, on: str, wanted: str) -> float:
    """Milliseconds from an event on an element to the first frame that shows what was wanted."""
    taken: float = page.evaluate(PAINTED, [[act, on], wanted])
    return taken


def hover(page: Page, path: str) -> float:
    return measure(page, "pointerenter", cell(path), f".board[data-playing='{path}']")


def follow(page: Page, path: str) -> float:
    """As a hand does it: the pointer rests on the cell that it clicks."""
    hover(page, path)
    page.wait_for_timeout(1000)
    return measure(page, "click", cell(path), painted(path))


def round_trip(folder: Path) -> dict[str, float]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--server.address=127.0.0.1", f"--server.port={port}", "--server.headless=true"]
    command = [sys.executable, "-m", "streamlit", "run", "streamlit_app.py", *options]
    environment = {**os.environ, "DIFFGRID_CACHE": str(folder / "cache")}
    found = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(GIVE_UP)
        page.add_init_script(f"{SEEN}({json.dumps(painted('trunk'))})")
        began = time.time()  # as the page's clock has it
        server = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.02)
            page.goto(f"http://127.0.0.1:{port}/", wait_until="commit")
            page.wait_for_function("window.seen")
            seen = page.evaluate("window.seen")
            found["opened, from the start of the server"] = seen - began * 1000
            page.wait_for_timeout(30_000)  # torch is imported, the model loaded
            found["hover, first time"] = hover(page, "1.2")
            hover(page, "1.3")
            found["hover, again"] = hover(page, "1.2")
            found["first click on what is cached"] = follow(page, "5.2")
            found["undo"] = measure(page, "click", UNDO, painted("trunk"))
            page.wait_for_timeout(1000)
            found["second click on what is cached"] = follow(page, "1.1")
            measure(page, "click", UNDO, painted("trunk"))
            page.wait_for_timeout(1000)
            found["click on what was there before"] = follow(page, "5.2")
            page.get_by_label("Prompt", exact=True).fill("a green monster")
            page.keyboard.press("Enter")
            page.get_by_role("progressbar", name="Sampling").wait_for()
            page.wait_for_timeout(2000)
            found["hover while it samples"] = hover(page, "1.1")
        finally:
            server.kill()
            server.wait()
            browser.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeat", type=int, default=3)
    rounds = defaultdict(list)
    for _ in range(parser.parse_args().repeat):
        with tempfile.TemporaryDirectory() as folder:
            for name, value in round_trip(Path(folder)).items():
                rounds[name].append(value)
    for name, values in rounds.items():
        print(
            f"{name:40} {statistics.median(values):7.0f} ms   (of {len(values)}: "
            f"{min(values):.0f} … {max(values):.0f})"
        )


if __name__ == "__main__":
    main()
