"""Does every touch arrive? Random ones, at random moments of sampling, on servers of their own.

    make touches ARGS="[--touches 1000] [--servers 20] [--cuts 0] [--idle] [--seed 0]"

Clicks, letters, links, Back, Undo and reloads, in bursts of five on a page that samples, with one
core burnt by another process. After each burst the page must be the one that was asked for last,
the trunk the one that was followed last, its address theirs, and nothing may wait to be done.
`--cuts` cuts the connection so many times, just before a touch. It ends with 1 if one was lost.
"""

import argparse
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Error, Page, WebSocketRoute, expect, sync_playwright

from tests.app.browsing import server

HEADINGS = ["Branching grid", "Trajectory strip", "Compare runs", "When is it decided?"]
GRID, STRIP, COMPARE, _ = HEADINGS
GIVE_UP = 60_000  # ms
BURST = 5
KINDS = ["follow", "letter", "undo", "link", "reload", "back"]
# Whoever makes the outbox is overheard: what a touch asked for, whether or not it arrives.
OVERHEAR = """{
  let box;
  Object.defineProperty(window, Symbol.for("diffgrid.outbox"), { get: () => box, set: (made) => {
    box = made;
    const push = made.push.bind(made);
    made.push = (act) => {
      const acts = JSON.parse(sessionStorage.getItem("acts") ?? "[]");
      sessionStorage.setItem("acts", JSON.stringify([...acts, act]));
      push(act);
    };
  } });
}"""
ACTS = 'JSON.parse(sessionStorage.getItem("acts") ?? "[]")'
WAITING = 'window[Symbol.for("diffgrid.outbox")]?.waiting.length ?? 0'
CELLS = """boards => boards.flatMap((board) => board.owner?.allCells() ?? [])
  .filter(({ entry }) => !entry.ghost)
  .map(({ element }) => {
    const { x, y, width, height } = element.getBoundingClientRect();
    return { x: x + width / 2, y: y + height / 2 };
  })"""


class Visitor:
    """Touches a page, and knows what should have become of it."""

    def __init__(self, page: Page, chance: random.Random, kinds: list[str]) -> None:
        self.page, self.chance, self.kinds = page, chance, kinds
        self.heading = GRID
        self.trunks = ["trunk"]  # those that Undo goes back to, and the one in view
        self.counted: Counter[str] = Counter()
        self.touched: list[str] = []
        self.sockets: list[WebSocketRoute] = []

    def acts(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = self.page.evaluate(ACTS)
        return found

    def touch(self) -> None:
        """One touch, of what is there; what it asked for is what the browser was asked to send."""
        kind = self.chance.choice(self.kinds if self.heading == GRID else [*self.kinds, "link"])
        before = len(self.acts())
        try:
            done = getattr(self, kind)()
        except Error as error:
            if "Timeout" in str(error):
                raise
            return  # the page went on under the hand
        self.counted[kind] += bool(done)
        self.touched.append(kind if done else f"({kind})")
        for act in self.acts()[before:]:
            self.asked(act)

    def asked(self, act: dict[str, str]) -> None:
        if act["do"] == "follow" and act["path"] != self.trunks[-1]:
            self.trunks.append(act["path"])
        elif act["do"] == "reroll_cell":
            self.trunks.append(self.trunks[-1])
        elif act["do"] == "undo" and len(self.trunks) > 1:
            self.trunks.pop()
        elif act["do"] == "strip":
            self.heading = STRIP

    def cell(self) -> dict[str, float] | None:
        """Where one of those that can be touched is."""
        cells = self.page.locator(".board").evaluate_all(CELLS) if self.heading == GRID else []
        return self.chance.choice(cells) if cells else None

    def follow(self) -> bool:
        if not (cell := self.cell()):
            return False
        self.page.mouse.click(cell["x"], cell["y"])
        return True

    def letter(self) -> bool:
        if not (cell := self.cell()):
            return False
        self.page.mouse.move(cell["x"], cell["y"])
        time.sleep(self.chance.choice([0, 0.1, 0.3, 0.5]))
        self.page.keyboard.press(self.chance.choice("srt"))
        return True

    def undo(self) -> bool:
        button = self.page.get_by_role("button", name="Undo")
        if self.heading != GRID or not button.count() or button.is_disabled():
            return False
        button.click(timeout=GIVE_UP)
        return True

    def link(self) -> bool:
        name = self.chance.choice([each for each in HEADINGS if each != self.heading])
        self.page.get_by_role("link", name=name).click(timeout=GIVE_UP)
        self.heading = name
        return True

    def reload(self) -> bool:
        """A new session, of the page that is there: it knows no way back."""
        self.there()
        self.page.reload()
        self.trunks = self.trunks[-1:]
        return True

    def back(self) -> bool:
        """To another page and back at once: one press is enough."""
        self.settled()
        here, url = self.heading, self.page.url
        self.link()
        self.there()
        self.page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        self.page.evaluate("history.back()")
        self.heading = here
        self.page.wait_for_url(url, timeout=GIVE_UP)
        return True

    def there(self) -> None:
        """The page that was asked for is."""
        expect(self.page.get_by_role("heading", level=1)).to_have_text(
            self.heading, timeout=GIVE_UP
        )

    def settled(self) -> None:
        """All that was asked for is there."""
        self.there()
        trunk = self.trunks[-1]
        if self.heading == GRID:
            board = self.page.locator(f".board[data-painted^='{trunk} ']:not(.running)")
            board.and_(self.page.locator(":not([data-lacking])")).wait_for(timeout=GIVE_UP)
        if self.heading in (GRID, STRIP):
            self.page.wait_for_function(f"!({WAITING})", timeout=GIVE_UP)
        if self.heading == GRID:
            path = re.escape(trunk.replace("/", "%2F"))
            address = rf"[?&]path={path}(&|$)" if trunk != "trunk" else r"^((?!path=).)*$"
            expect(self.page).to_have_url(re.compile(address), timeout=GIVE_UP)
        faults = self.page.locator("[data-testid=stException], [data-testid=stAlertContentError]")
        assert not faults.count(), faults.all_text_contents()

    def connect(self, socket: WebSocketRoute) -> None:
        socket.connect_to_server()
        self.sockets.append(socket)

    def cut(self) -> None:
        """The connection drops; Streamlit's browser side makes a new one."""
        if self.sockets:
            self.sockets.pop().close(code=1011)
            time.sleep(self.chance.choice([0, 0.1, 0.3, 1]))


@contextmanager
def burnt(wanted: bool):  # type: ignore[no-untyped-def]
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if wanted else None
    try:
        yield
    finally:
        if burner:
            burner.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--touches", type=int, default=1000)
    parser.add_argument("--servers", type=int, default=20)
    parser.add_argument("--cuts", type=int, default=0, help="of the connection, in all")
    parser.add_argument("--idle", action="store_true", help="burn no core")
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    counted: Counter[str] = Counter()
    lost = cuts = 0
    with burnt(not options.idle), sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for number in range(options.servers):
            chance = random.Random(options.seed * 1000 + number)
            with server(Path(tempfile.mkdtemp())) as address:
                page = browser.new_context().new_page()
                page.set_default_timeout(GIVE_UP)
                errors: list[str] = []
                page.on("pageerror", lambda error: errors.append(str(error)))  # noqa: B023
                page.add_init_script(OVERHEAR)
                visitor = Visitor(page, chance, options.kinds)
                page.route_web_socket(re.compile("_stcore/stream"), visitor.connect)
                page.goto(f"{address}/?steps=8&rows=2,4&columns=2&seed={number}")
                try:
                    visitor.settled()
                    while sum(visitor.counted.values()) < options.touches / options.servers:
                        for _ in range(BURST):
                            if cuts < options.cuts and chance.random() < 0.05:
                                visitor.cut()
                                cuts += 1
                            visitor.touch()
                            time.sleep(chance.uniform(0, 0.6))
                        visitor.settled()
                    assert not errors, errors
                except (AssertionError, Error) as error:
                    lost += 1
                    print(f"server {number}: {str(error).splitlines()[0]}", flush=True)
                    print(f"  wanted {visitor.heading!r}, {visitor.trunks}; at {page.url}")
                    print(f"  {' '.join(visitor.touched[-12:])}")
                    print(f"  {json.dumps(visitor.acts()[-8:])}", flush=True)
                    page.screenshot(path=f"touches-{number}.png")
                counted += visitor.counted
                print(number, dict(visitor.counted), flush=True)
                page.context.close()
        browser.close()
    print(f"{counted.total()} touches on {options.servers} servers, {cuts} cuts: {lost} went wrong")
    sys.exit(bool(lost))


if __name__ == "__main__":
    main()
