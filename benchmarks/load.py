"""Many visitors on one server, by Streamlit's protocol: how long do they wait, what do they cost?

    make load ARGS="[--sessions 50] [--seconds 180] [--every 10] [--cached 0.8] [--public]"
    make load ARGS="--age [--seconds 1800]"

Each has a session of their own and asks for another grid every so many seconds, `--cached` of them
one that is stored, else one of a new seed. Of each stored view is timed how long it takes from the
request to the end of the script, by which the whole grid is there; and it must be the one that was
asked for, of the same pictures as ever. With `--age` they do all sorts of things on all pages, and
come and go; memory and open files are told every minute. It ends with 1 if anything went wrong.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from streamlit.proto.Alert_pb2 import Alert
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Delta_pb2 import Delta
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.app.browsing import server

GIVE_UP = 120.0  # seconds
MOST_GROWTH, SLOWEST = 0.10, 1.0  # of memory; seconds of the 95th percentile
SETTLE = 0.1  # seconds until a browser asks for the pictures that it lacks
SHAPE = {"steps": "25", "rows": "1,5,10,16", "columns": "4"}  # what ships
NEW_SEEDS = 1_000_000  # and above


def address_of(seed: int) -> str:
    return urlencode({"seed": seed, **SHAPE})


@dataclass
class Tally:
    """What all visitors saw."""

    waited: list[float] = field(default_factory=list)  # seconds, for each stored view
    done: Counter[str] = field(default_factory=Counter)  # acts, by kind
    faults: Counter[str] = field(default_factory=Counter)
    # What the final pictures of each seed's grid are called, by their content.
    pictures: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def compare(self, seed: int, names: tuple[str, ...]) -> None:
        """A seed's grid is the same for everybody, and no other one's."""
        if self.pictures.setdefault(seed, names) != names:
            self.faults[f"seed {seed} came with other pictures"] += 1


class Visitor:
    """One tab: it keeps what a browser would, and asks as one does."""

    def __init__(self, address: str, tally: Tally) -> None:
        self.uri = address.replace("http", "ws", 1) + "/_stcore/stream"
        self.tally, self.cookie = tally, random.randbytes(16).hex()
        self.socket: ClientConnection | None = None
        self.reader: asyncio.Task[None] | None = None
        self._forget()

    def _forget(self) -> None:
        self.query, self.running = "", False
        self.page = self.shown = ""  # hashes of scripts: what runs, and the page that is there
        self.pages: dict[str, str] = {}  # the end of each address -> the hash of its script
        self.grid: dict[str, Any] = {}  # the last message's header
        self.known: set[str] = set()  # names of pictures
        self.board = self.fragment = self.polls = ""  # ids
        self.states: dict[str, Any] = {}  # of the board
        self.fields: dict[str, str] = {}  # label -> id, in the form
        self.ticks: list[asyncio.Task[None]] = []
        self.changed = asyncio.Event()
        self.sender, self.acts = random.randbytes(8).hex(), 0

    async def come(self, query: str = "") -> None:
        """Open a tab."""
        self._forget()
        self.socket = await connect(
            self.uri,
            subprotocols=["streamlit"],  # type: ignore[list-item]
            additional_headers={"Cookie": f"_streamlit_xsrf={self.cookie}"},
            max_size=None,
            open_timeout=GIVE_UP,
        )
        self.reader = asyncio.create_task(self._read(self.socket))
        self.reader.add_done_callback(lambda _: self.changed.set())
        await self.ask(query)

    async def leave(self) -> None:
        """Close it."""
        for task in (*self.ticks, self.reader):
            if task:
                task.cancel()
        if self.socket:
            socket, self.socket = self.socket, None
            await socket.close()

    # What is asked.

    async def ask(self, query: str | None = None, page: str | None = None) -> None:
        """Have the page run: at another address, or another page."""
        self.query = self.query if query is None else query
        await self._send(self.pages.get(page, self.page) if page is not None else self.page)

    async def act(self, **what: Any) -> None:
        """Touch the grid."""
        self.acts += 1
        told = {"sender": self.sender, "acts": [[self.acts, what]], "at": time.time()}
        await self._set(acts=told)

    async def fill(self, label: str, value: int | str) -> None:
        """Change a field of the form."""
        await self._send(self.page, form=(self.fields[label], value))

    async def _set(self, **states: Any) -> None:
        self.states |= states
        await self._send(self.page, self.fragment)

    async def _send(
        self, page: str, fragment: str = "", form: tuple[str, int | str] | None = None
    ) -> None:
        message = BackMsg()
        state = message.rerun_script
        state.query_string, state.page_script_hash = self.query, page
        state.fragment_id = fragment
        if self.board and self.states:
            state.widget_states.widgets.add(id=self.board, json_value=json.dumps(self.states))
        match form:
            case (name, int(value)):
                state.widget_states.widgets.add(id=name, int_value=value)
            case (name, str(text)):
                state.widget_states.widgets.add(id=name, string_value=text)
        assert self.socket
        await self.socket.send(message.SerializeToString())

    # What is told.

    async def _read(self, socket: ClientConnection) -> None:
        async for data in socket:
            assert isinstance(data, bytes)
            message = ForwardMsg.FromString(data)
            match message.WhichOneof("type"):
                case "new_session":
                    self.running, self.page = True, message.new_session.page_script_hash
                    if not message.metadata.run.fragment_ids:
                        self._stop_asking()
                case "script_finished":
                    self.running = message.script_finished == ForwardMsg.FINISHED_EARLY_FOR_RERUN
                case "navigation":
                    pages = message.navigation.app_pages
                    self.page = message.navigation.page_script_hash
                    if self.page != self.shown:
                        self.shown, self.grid, self.board = self.page, {}, ""
                    self.pages = {each.url_pathname: each.page_script_hash for each in pages}
                    self.pages[""] = next(p.page_script_hash for p in pages if p.is_default)
                case "page_info_changed":
                    self.query = message.page_info_changed.query_string
                case "auto_rerun":
                    again = self._again(message.auto_rerun.fragment_id, message.auto_rerun.interval)
                    self.ticks.append(asyncio.create_task(again))
                case "delta":
                    self._draw(message.delta)
            self.changed.set()
        self.tally.faults["the server hung up"] += 1

    def _stop_asking(self) -> None:
        for task in self.ticks:
            task.cancel()
        self.ticks.clear()

    async def _again(self, fragment: str, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            await self._send(self.page, fragment)

    def _draw(self, delta: Delta) -> None:
        element = delta.new_element
        match element.WhichOneof("type"):
            case "exception":
                self.tally.faults[element.exception.message.splitlines()[0][:200]] += 1
            case "alert" if element.alert.format in (Alert.ERROR, Alert.WARNING):
                self.tally.faults[element.alert.body[:200]] += 1
            case "number_input":
                self.fields[element.number_input.label] = element.number_input.id
            case "text_input":
                self.fields[element.text_input.label] = element.text_input.id
            case "bidi_component" if element.bidi_component.component_name == "diffgrid.grid":
                board = element.bidi_component
                if board.id != self.board:
                    self.states.clear()
                self.board, self.fragment = board.id, delta.fragment_id
                self._paint(board.bytes)

    def _paint(self, data: bytes) -> None:
        (size,) = struct.unpack_from("<I", data)
        self.grid = json.loads(data[4 : 4 + size])
        self.known |= {
            name
            for name, length in zip(self.grid["names"], self.grid["lengths"], strict=True)
            if length
        }
        lacking = [name for name in self.grid["names"] if name not in self.known]
        if lacking:
            asyncio.get_running_loop().call_later(SETTLE, self._lack, lacking)

    def _lack(self, names: list[str]) -> None:
        if self.socket and names == [n for n in self.grid["names"] if n not in self.known]:
            told = {"names": names, "at": time.time()}
            self.ticks.append(asyncio.create_task(self._set(lack=told)))

    # What there is.

    def there(self, seed: int) -> bool:
        """Whether this seed's grid is, whole, and nothing runs."""
        return not self.running and f"seed {seed}" in self.grid.get("recipe", ()) and self.whole

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The trunk and all cells."""
        if not self.grid:
            return []
        cells = (cell for row in self.grid["rows"] for cell in row["cells"])
        return [self.grid["focus"], *cells]

    @property
    def whole(self) -> bool:
        """Whether each is done, and has a picture: a cell's last guess, while its final comes."""
        names = self.grid["names"]
        return all(
            each["done"] and {names[each["final"]], names[each["x0"][-1]]} & self.known
            for each in self.entries
        )

    async def until(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Wait for something; whether it came."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not holds() and self.reader and not self.reader.done():
                    self.changed.clear()
                    await self.changed.wait()
        return holds()

    async def see(self, seed: int, seconds: float = GIVE_UP) -> bool:
        """Ask for a seed's grid, and look at it; whether it came."""
        await (self.ask if self.socket else self.come)(address_of(seed))
        if not await self.until(lambda: self.there(seed), seconds):
            return False
        names = self.grid["names"]
        self.tally.compare(seed, tuple(names[each["final"]] for each in self.entries))
        return True


@dataclass(frozen=True)
class Cost:
    """What the server takes."""

    memory: float  # MB
    files: int  # open

    @classmethod
    def of(cls, process: int) -> "Cost":
        status = Path(f"/proc/{process}/status").read_text()
        (line,) = (each for each in status.splitlines() if each.startswith("VmRSS"))
        return cls(int(line.split()[1]) / 1024, len(os.listdir(f"/proc/{process}/fd")))

    def __str__(self) -> str:
        return f"{self.memory:.0f} MB, {self.files} open files"


async def look(visitor: Visitor, chance: random.Random, options: argparse.Namespace) -> None:
    """Ask for one grid after another, until the time is over."""
    tally, seen = visitor.tally, -1
    await asyncio.sleep(chance.uniform(0, options.every))
    until = time.monotonic() + options.warm + options.seconds
    while (began := time.monotonic()) < until:
        if chance.random() < options.cached:
            seen = chance.choice([seed for seed in range(options.seeds) if seed != seen])
            if await visitor.see(seen):
                tally.done["stored"] += 1
                tally.waited.append(time.monotonic() - began)
            else:
                tally.faults["a stored view did not come"] += 1
        else:
            seen = NEW_SEEDS + chance.randrange(NEW_SEEDS)
            came = await visitor.see(seen, options.every)
            tally.done["new" if came else "new, but left"] += 1
        await asyncio.sleep(max(0, began + options.every - time.monotonic()))


async def wander(visitor: Visitor, chance: random.Random, options: argparse.Namespace) -> None:
    """Do anything, and come back after leaving, until the time is over."""
    until, tally = time.monotonic() + options.warm + options.seconds, visitor.tally
    while time.monotonic() < until:
        await asyncio.sleep(chance.uniform(0, 2 * options.every))
        kinds = ["stored", "new", "page", "form", "follow", "undo", "rest", "strip", "come"]
        kind = chance.choice(kinds)
        cells = [each["path"] for each in visitor.entries if each["done"]]
        match kind:
            case "stored":
                await visitor.ask(address_of(chance.randrange(options.seeds)), "")
            case "new":
                await visitor.ask(address_of(chance.randrange(NEW_SEEDS)), "")
            case "page":
                await visitor.ask("", chance.choice(["", "strip", "compare", "decisions"]))
            case "form" if "Seed" in visitor.fields:
                await visitor.fill("Seed", chance.randrange(options.seeds))
            case "follow" | "strip" | "rest" if cells and visitor.board:
                path = chance.choice(cells)
                if kind == "rest":
                    await visitor._set(rest={"path": path, "at": time.time()})
                else:
                    await visitor.act(do=kind, path=path)
            case "undo" if visitor.board and visitor.grid["before"] is not None:
                await visitor.act(do="undo")
            case "come":
                await visitor.leave()
                await asyncio.sleep(chance.uniform(0, options.every))
                await visitor.come(address_of(chance.randrange(options.seeds)))
            case _:
                continue
        tally.done[kind] += 1


async def watch(process: int, tally: Tally, costs: list[Cost]) -> None:
    """Note what the server takes, and say so every minute."""
    while True:
        await asyncio.sleep(1)
        costs.append(Cost.of(process))
        if len(costs) % 60 == 0:
            acts, faults = tally.done.total(), tally.faults.total()
            print(f"{len(costs) // 60} min: {costs[-1]}; {acts} acts, {faults} faults", flush=True)


async def load(address: str, process: int, options: argparse.Namespace) -> bool:
    """Do it; whether all went well."""
    tally = Tally()
    began = time.monotonic()
    for seed in range(options.seeds):
        visitor = Visitor(address, tally)  # another one: a visitor gets so much a minute
        assert await visitor.see(seed), (seed, tally.faults)
        await visitor.leave()
    print(f"{options.seeds} grids are stored after {time.monotonic() - began:.0f} s", flush=True)
    visitors = [Visitor(address, tally) for _ in range(options.sessions)]
    for number, visitor in enumerate(visitors):
        assert await visitor.see(number % options.seeds), (number, tally.faults)
    print(f"{len(visitors)} sessions are open after {time.monotonic() - began:.0f} s", flush=True)
    chances = (random.Random(f"{options.seed} {number}") for number in range(len(visitors)))
    live = wander if options.age else look
    lives = [live(v, c, options) for v, c in zip(visitors, chances, strict=True)]
    living = asyncio.gather(*lives)
    await asyncio.wait([living], timeout=options.warm)
    warm, costs = Cost.of(process), list[Cost]()
    print(f"warm: {warm}", flush=True)
    watching = asyncio.create_task(watch(process, tally, costs))
    await living
    watching.cancel()
    costs.append(end := Cost.of(process))
    for visitor in visitors:
        with suppress(ConnectionClosed):
            await visitor.leave()
    first, last = (max(cost.memory for cost in minute) for minute in (costs[:60], costs[-60:]))
    growth = last / first - 1
    print(
        f"at the end {end}; at most {first:.0f} MB in the first minute that counts, {last:.0f} MB "
        f"in the last ({growth:+.0%}), {max(cost.memory for cost in costs):.0f} MB in all"
    )
    well = not tally.faults and growth <= MOST_GROWTH
    if waited := sorted(tally.waited):
        late = statistics.quantiles(waited, n=20)[-1] if len(waited) > 1 else waited[0]
        print(
            f"{len(waited)} stored views: half within {statistics.median(waited):.2f} s, 95 % "
            f"within {late:.2f} s, the slowest {waited[-1]:.2f} s"
        )
        well = well and late < SLOWEST
    print(*(f"{count} × {what}" for what, count in (tally.done + tally.faults).items()), sep="\n")
    return well


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--seconds", type=float, help="default: 180, with --age 1800")
    parser.add_argument(
        "--warm", type=float, help="seconds before it counts (default: 60, with --age 240)"
    )
    parser.add_argument("--every", type=float, default=10, help="seconds between two acts")
    parser.add_argument("--cached", type=float, default=0.8, help="share of stored views")
    parser.add_argument("--seeds", type=int, default=8, help="whose grids are stored first")
    parser.add_argument("--public", action="store_true", help="with the limits for strangers")
    parser.add_argument("--age", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.seconds = options.seconds or (1800 if options.age else 180)
    # Streamlit keeps sessions that are gone for two minutes: till then there are ever more.
    options.warm = options.warm or (240 if options.age else 60)
    if options.seconds < 120:
        parser.error(
            "--seconds: two minutes at least, of which the first and the last are compared"
        )
    os.environ["DIFFGRID_PUBLIC"] = str(int(options.public))
    with tempfile.TemporaryDirectory() as folder, server(Path(folder)) as address:
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        well = asyncio.run(load(address, int(children[0]), options))
        print(f"load average {os.getloadavg()[0]:.1f}")
        _, *tracebacks = Path(folder, "server.log").read_text().rsplit("Traceback", 1)
        print(*(f"the server's log: {each[-6000:]}" for each in tracebacks), flush=True)
    sys.exit(not well)


if __name__ == "__main__":
    main()
