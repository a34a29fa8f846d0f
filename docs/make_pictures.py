"""The README's pictures, taken from the running app in Debian's Chromium.

    make run &
    python docs/make_pictures.py http://localhost:8501

Writes docs/app.png and docs/journey.gif.
"""

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page, ViewportSize, sync_playwright

DOCS = Path(__file__).parent
SIZE = ViewportSize(width=1280, height=880)
WIDTH = 800  # px of the film
PAUSE = 130  # ms between its frames
COLOURS = 256


def painted(page: Page, path: str) -> None:
    page.locator(f".board[data-painted='{path} 12']").wait_for()


def cell(page: Page, path: str) -> Locator:
    return page.get_by_role("gridcell", name=f"branch {path} ")


class Film:
    """Screenshots, one after another."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.frames: list[Image.Image] = []

    def take(self, count: int) -> None:
        """So many frames, a pause after each."""
        for _ in range(count):
            frame = Image.open(io.BytesIO(self.page.screenshot()))
            height = round(frame.height * WIDTH / frame.width)
            self.frames.append(
                frame.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
            )
            self.page.wait_for_timeout(PAUSE)

    def save(self, file: Path) -> None:
        # Not the median cut: it drops the small red ones for one more shade of grey.
        palette = self.frames[0].quantize(COLOURS, Image.Quantize.FASTOCTREE)
        first, *others = (
            frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in self.frames
        )
        first.save(file, save_all=True, append_images=others, duration=PAUSE, loop=0, optimize=True)


def journey(page: Page) -> Film:
    """Hover, follow, follow again, and all cells at once."""
    film = Film(page)
    film.take(3)
    for path in ("1.1", "5.3"):
        cell(page, path).hover()
        film.take(9)
    cell(page, "1.1").click()
    film.take(5)
    painted(page, "1.1")
    page.mouse.move(640, 40)
    film.take(5)
    cell(page, "1.1/5.2").click()
    film.take(4)
    painted(page, "1.1/5.2")
    page.mouse.move(640, 40)
    film.take(4)
    page.get_by_role("button", name="Play all cells").click()
    film.take(14)
    return film


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("address")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(120_000)
        page.goto(parser.parse_args().address)
        painted(page, "trunk")
        page.wait_for_timeout(1000)
        page.screenshot(path=DOCS / "app.png")
        journey(page).save(DOCS / "journey.gif")
        browser.close()


if __name__ == "__main__":
    main()
