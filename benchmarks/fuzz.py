"""Broken inputs for each parser: addresses, a component's messages, stored bytes, model folders,
photos, files of runs, and files that say what they were made of.

    python -m benchmarks.fuzz [--count 100000] [--seed 0] [PARSER …]

Whatever comes in, a parser gives a value or raises one of diffgrid's own errors, in one sentence. A
line a parser says how many were taken, the longest time of one and the memory that all took. What
was wrong is printed with its input's number, and the command ends with 1. Tests of the suite make
the sound inputs that are broken here.
"""

import argparse
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from diffgrid.app.session.actions import lack, rest, take
from diffgrid.app.session.page import GRID
from diffgrid.app.session.session import Session
from diffgrid.compare import distance, settings
from diffgrid.errors import DiffgridError
from diffgrid.models import heeded
from diffgrid.models.registry import find_model, specify
from diffgrid.pictures.png import Texts, with_texts
from diffgrid.records.codec import seal, unseal
from diffgrid.records.frames import Frames
from diffgrid.records.shared_run import SharedRun
from diffgrid.records.trajectories import from_bytes, to_bytes
from diffgrid.sharing import foreign, photo, recipe, runs_file
from diffgrid.sharing.address import from_query, to_query
from diffgrid.sharing.view import View
from diffgrid.spec.path import parse_path
from tests.fakes import FakeEngine, pictures, trajectory

LONGEST, MOST_MEMORY = 1.0, 200e6  # seconds of one input, bytes of all
DEEP: Any = []
for _ in range(400):
    DEEP = [DEEP]
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**400, -(10**400), 0.5, 1e308, float("inf"),
    float("nan"), "", "\0", "\ud800", "a" * 10_000, "9" * 5_000, "8.2/14.0", "8:prompt=%", "12.0-3",
    "1/" * 5_000, "../../etc/passwd", "/dev/zero", "<script>", [], {}, [[]], [{}], {"": None}, DEEP,
    list(range(1_000)), {"a": 1}, ["diffusers", "AutoencoderKL"], "DDIMScheduler", "heun",
)  # fmt: skip
Parse = Callable[[random.Random], None]


def broken(value: Any, chance: random.Random) -> Any:
    """A copy with one node replaced, dropped, doubled or renamed."""
    if not isinstance(value, dict | list) or not value or chance.random() < 0.2:
        if isinstance(value, str) and chance.random() < 0.6:
            return broken_text(value, chance)
        return chance.choice(ODD)
    if isinstance(value, list):
        at = chance.randrange(len(value))
        middle = chance.choice([[], [value[at]] * 2, [broken(value[at], chance)]])
        return [*value[:at], *middle, *value[at + 1 :]]
    name = chance.choice([*value])
    others = {key: each for key, each in value.items() if key != name}
    renamed = {broken_text(name, chance): value[name]}
    return others | chance.choice([{}, renamed, *[{name: broken(value[name], chance)}] * 4])


def broken_object(value: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """The same, still an object."""
    changed = broken(value, chance)
    return changed if isinstance(changed, dict) else {}


def broken_text(text: str, chance: random.Random) -> str:
    """Some characters dropped, put in or said over and over."""
    begin, end = sorted(chance.randrange(len(text) + 1) for _ in range(2))
    odd: str = chance.choice(["", *"\0/.-٣é%:", "9" * 400, text[begin:end] * 50])
    return text[:begin] + odd + text[end:]


def broken_bytes(data: bytes, chance: random.Random) -> bytes:
    """Bits flipped, cut short, or a part repeated."""
    begin, end = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    flipped = bytearray(data)
    flipped[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return chance.choice([bytes(flipped), data[:begin], data[:end] + data[begin:], data[end:]])


def addresses() -> Parse:
    """Queries of sound views, broken once or more."""
    view = View.default()
    sound = [
        to_query(each)
        for each in (
            view.with_options(prompt="a red monster", steps=30, guidance=2.5),
            view.follow(parse_path("5.2/10.1")).add_column(),
            view.with_options(scheduler="heun", seed=3).reroll_row(4),
            view.change(8, "a green monster", 5.0),
            view.with_fork_kind(3).with_shape(2, 3),
        )
    ]

    def parse(chance: random.Random) -> None:
        query: Any = chance.choice(sound)
        for _ in range(chance.randint(1, 3)):
            query = broken(query, chance)
            query = query if isinstance(query, dict) else {"path": query}
        from_query({name: str(value)[:20_000] for name, value in query.items()})

    return parse


def messages() -> Parse:
    """Acts, hints and what a browser says that it lacks."""
    acts: list[dict[str, Any]] = [
        {"do": "follow", "path": "5.2"},
        {"do": "goto", "path": "trunk"},
        {"do": "reroll_cell", "step": 5, "branch": 1},
        {"do": "reroll_row", "step": 5},
        {"do": "add_row", "step": 12},
        {"do": "drop_row", "step": 5},
        {"do": "add_column"},
        {"do": "drop_column"},
        {"do": "change", "step": 8, "prompt": "a red monster", "guidance": 3},
        {"do": "pick", "path": "5.1"},
        {"do": "star", "path": "5.1"},
        {"do": "strip", "path": "5.1"},
        {"do": "compare", "paths": ["5.1", "5.2"]},
        {"do": "lane", "lane": "xt"},
        {"do": "undo"},
        {"do": "take_in", "nodes": [[-1, {"seed": "8"}], [0, {"path": "5.2"}]], "at": 1},
        {"do": "open", "recipe": recipe.write(View.default())},
    ]
    held: list[Session] = []

    def parse(chance: random.Random) -> None:
        if not held or chance.random() < 0.01:
            engine = FakeEngine()
            held[:] = [Session(lambda: engine)]
            held[0].load_query(GRID, {})
        mine, act = held[0], chance.choice(acts)
        told = broken({"sender": str(chance.random()), "acts": [[1, act], [2, act]]}, chance)
        take(mine, told)
        rest(mine, broken({"path": "5.2"}, chance))
        lack(mine.sent_images, broken({"names": ["a", "b"]}, chance))

    return parse


def photos() -> Parse:
    """Pictures in each format, their bytes broken; large ones take memory, and so are refused."""
    photo.MOST_PIXELS = 10**6
    noise = np.random.default_rng(0).integers(0, 256, (40, 61, 4), dtype=np.uint8)
    sound = []
    for kind, mode in (("PNG", "RGBA"), ("PNG", "P"), ("JPEG", "RGB"), ("WEBP", "RGBA")):
        file = BytesIO()
        Image.fromarray(noise).convert(mode).save(file, kind)
        sound.append(file.getvalue())

    def parse(chance: random.Random) -> None:
        photo.fitted(photo.decode(broken_bytes(chance.choice(sound), chance)), 32, 32)

    return parse


def entries() -> Parse:
    """Stored trajectories and frames, broken with and without a checksum that says so."""
    spec = specify(steps=4)
    whole = to_bytes(trajectory(spec, parse_path("1.0")))
    header, payload = unseal("trajectory", whole)
    start = 8 + int.from_bytes(payload[:8], "little")
    table, data = json.loads(bytes(payload[8:start])), bytes(payload[start:])
    of_frames, shots = pictures(4).to_payload()

    def parse(chance: random.Random) -> None:
        match chance.randrange(4):
            case 0:
                from_bytes(broken_bytes(whole, chance))
            case 1:
                from_bytes(seal("trajectory", broken_object(header, chance), payload))
            case 2:
                text = json.dumps(broken(table, chance)).encode("ascii", "replace")
                length = chance.choice([len(text), len(text), 0, 2**63, chance.randrange(10_000)])
                odd = b"".join((length.to_bytes(8, "little"), text, data))
                from_bytes(seal("trajectory", header, odd))
            case _:
                Frames.from_payload(broken_object(of_frames, chance), shots)

    return parse


def runs_files() -> Parse:
    """Files of runs, broken in their bytes, their table, their words or their numbers; what is
    taken is compared, as the page does."""
    paths = map(parse_path, ("trunk", "1.0", "2:prompt=a+cat"))
    runs = [SharedRun(trajectory(specify(steps=4), path), pictures(4)) for path in paths]
    whole = runs_file.to_bytes(runs)
    start = 8 + int.from_bytes(whole[:8], "little")
    table, data = json.loads(whole[8:start]), whole[start:]
    words = json.loads(table["__metadata__"]["diffgrid"])
    config = json.loads(words["specifications"][0]["scheduler_config"])

    def parse(chance: random.Random) -> None:
        told, read, numbers = words, table, data
        match chance.randrange(6):
            case 0:
                compare(runs_file.read(broken_bytes(whole, chance)))
                return
            case 1:
                read = broken_object(table, chance)
            case 2:
                told = broken_object(words, chance)
            case 3:
                odd = json.dumps(broken(config, chance))
                told = {**words, "specifications": [{**words["specifications"][0],
                                                     "scheduler_config": odd}]}  # fmt: skip
            case 4:
                run = broken(words["runs"][1], chance)
                told = {**words, "runs": [words["runs"][0], run, words["runs"][2]]}
            case _:
                numbers = broken_bytes(data, chance)
        if read is table:
            read = {**table, "__metadata__": {"diffgrid": json.dumps(told)}}
        text = json.dumps(read).encode("ascii", "replace")
        length = chance.choice([*[len(text)] * 8, 0, 2**63, chance.randrange(100_000)])
        compare(runs_file.read(length.to_bytes(8, "little") + text + numbers))

    def compare(found: runs_file.RunsFile) -> None:
        first, *_ = shared = [*found]
        for run in shared:
            _ = distance(first.trajectory, run.trajectory)
            _ = settings(run.trajectory.spec, run.trajectory.path)

    return parse


PROMPT = "a red monster, 红色的怪物 " * 40


def folders(place: Path) -> Parse:
    """The JSON of a model's folder, one file at a time."""
    folder = place / "model"
    shutil.copytree(find_model("monsters").folder, folder)
    for weights in folder.rglob("*.safetensors"):  # small ones: they are not what is broken
        save_file({"a": np.zeros(1, np.float32)}, weights)
    index = {"weight_map": {"a": "diffusion_pytorch_model.safetensors"}}
    shards = folder / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    shards.write_text(json.dumps(index))
    names = ("model_index.json", "diffgrid.json", "scheduler/scheduler_config.json",
             "unet/config.json", "vae/config.json", "probe/config.json", "probe/signs.json",
             "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json",
             shards.relative_to(folder).as_posix())  # fmt: skip
    sound = {folder / name: (folder / name).read_bytes() for name in names}

    def parse(chance: random.Random) -> None:
        file = chance.choice([*sound])
        text = sound[file]
        if chance.random() < 0.2:
            text = broken_bytes(text, chance)
        else:
            text = json.dumps(broken(json.loads(text), chance)).encode()
        file.write_bytes(text)
        try:
            if chance.random() < 0.5:
                found = find_model(str(folder))
                _ = found.words, found.sentence, found.numbers, found.signs, found.side
                _ = heeded.of_length(found, PROMPT), heeded.unknown_words(found, PROMPT)
            else:
                _ = specify(model=str(folder)).fork_steps
        finally:
            file.write_bytes(sound[file])

    return parse


def files() -> Parse:
    """Pictures and pages of sound views, their recipes and their bytes broken."""
    view, blank = View.default(), pictures(1).final
    sound = [
        json.loads(recipe.write(each, kind))
        for each in (
            view,
            view.with_options(prompt=PROMPT[:500], steps=30).follow(parse_path("5.2/10.1")),
            view.change(8, "a green monster", 5.0).reroll_row(10),
            view.with_fork_kind(3),
        )
        for kind in ("grid", "strip", "decisions")
    ]
    old = {name: value for name, value in specify().to_dict().items() if "config" not in name}
    sound.append(old | {"scheduler": "ddim", "path": "5.2", "rows": {"1": [0, 1], "10": [3]}})

    def parse(chance: random.Random) -> None:
        content = chance.choice(sound)
        text = json.dumps(broken(content, chance) if chance.random() < 0.7 else content)
        match chance.randrange(4):
            case 0:
                data = recipe.element(text).encode()
            case 1:
                pressed = zlib.compress(text.encode())
                head = b"zTXtdiffgrid\0\0" if chance.random() < 0.5 else b"iTXtdiffgrid\0\1\0\0\0"
                crc = zlib.crc32(head + pressed).to_bytes(4, "big")
                more = b"".join((len(pressed + head[4:]).to_bytes(4, "big"), head, pressed, crc))
                data = blank[:33] + more + blank[33:]
            case _:
                data = with_texts(blank, Texts(text, ""))
        foreign.opened(data if chance.random() < 0.5 else broken_bytes(data, chance))

    return parse


@contextmanager
def writes_noted(allowed: Path) -> Iterator[set[str]]:
    """What was opened for writing outside this folder."""
    written: set[str] = set()

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        changes = event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)
        if changes and not str(arguments[0]).startswith((str(allowed), os.devnull)):
            written.add(str(arguments[0]))

    sys.addaudithook(audit)
    yield written


def run(name: str, parse: Parse, count: int, seed: int, written: set[str]) -> bool:
    """Whether all went well; a line says how."""
    taken, faults, longest = 0, 0, 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    for number in range(count):
        chance = random.Random(f"{name} {seed} {number}")
        start = time.thread_time()
        try:
            parse(chance)
            taken += 1
        except DiffgridError as error:
            if "\n" in str(error):
                faults += 1
                print(f"{name} {number}: more than one line: {error!r}"[:300])
        except Exception as error:
            faults += 1
            print(f"{name} {number}: {error!r}"[:300])
        longest = max(longest, time.thread_time() - start)
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    print(
        f"{name}: {count:,} inputs, {taken:,} taken, {faults} faults, "
        f"longest {longest * 1e3:.0f} ms, {memory / 1e6:.0f} MB more, "
        f"{len(written)} files written elsewhere, {time.monotonic() - began:.0f} s"
    )
    return not faults and longest < LONGEST and memory < MOST_MEMORY and not written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("parsers", nargs="*", metavar="PARSER")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="diffgrid-fuzz-"))
    os.environ["DIFFGRID_CACHE"] = os.environ["XDG_CACHE_HOME"] = str(place / "cache")
    kinds: dict[str, Callable[[], Parse]] = {
        "addresses": addresses,
        "messages": messages,
        "entries": entries,
        "runs_files": runs_files,
        "folders": lambda: folders(place),
        "files": files,
        "photos": photos,
    }
    try:
        with writes_noted(place) as written:
            well = [
                run(name, kinds[name](), options.count, options.seed, written)
                for name in options.parsers or kinds
            ]
    finally:
        shutil.rmtree(place)
    sys.exit(not all(well))


if __name__ == "__main__":
    main()
