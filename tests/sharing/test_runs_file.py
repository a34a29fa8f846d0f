"""Runs in a file come back to the bit; whatever else a file holds is one sentence."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load

from diffgrid import __version__
from diffgrid.errors import BadInput, DiffgridError, OtherVersion, StoreError
from diffgrid.records.frames import DIGESTS, FRAMES, Decoding
from diffgrid.records.shared_run import SharedRun
from diffgrid.sharing import runs_file
from diffgrid.spec.path import parse_path
from diffgrid.store.forgiving import TrajectoryStore
from tests.fakes import pictures
from tests.store.made import SPEC, same, store_in_memory, trajectory

FIXTURE = Path(__file__).parents[1] / "fixtures" / "runs-of-schema-1.diffgrid"
FRAMES_OF_6 = pictures(6)


def shared(seed: int = 7, path: str = "trunk", **of_spec: Any) -> SharedRun:
    run = trajectory(seed, path, side=2)
    return SharedRun(replace(run, spec=replace(run.spec, **of_spec)), FRAMES_OF_6)


def as_told(run: SharedRun) -> tuple[Any, ...]:
    return run.name, run.note, run.frames


def equal(one: SharedRun, other: SharedRun) -> bool:
    return same(one.trajectory, other.trajectory) and as_told(one) == as_told(other)


# What is written is read.

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32)


@st.composite
def any_runs(draw: st.DrawFn) -> list[SharedRun]:
    places = draw(
        st.lists(
            st.tuples(
                st.integers(0, 2**63 - 1),
                st.sampled_from(["trunk", "1.0/3.2", "2.1~", "3.0-2", "1:prompt=a+%22hat%22"]),
            ),
            min_size=1,
            max_size=4,
            unique=True,
        )
    )
    runs = []
    for seed, path in places:
        spec = replace(SPEC, seed=seed, prompt=draw(WORDS), num_inference_steps=6)
        shape = tuple(draw(st.integers(1, 3)) for _ in range(3))
        made = replace(
            trajectory(1, side=1),
            spec=spec,
            path=parse_path(path),
            made=draw(WORDS),
            latents=np.full((7, *shape), draw(FLOATS), np.float32),
            model_outputs=np.full((6, *shape), draw(FLOATS), np.float32),
        )
        way = draw(st.sampled_from(["vae", "tiny", "linear", "hindsight", "exact"]))
        error = draw(st.none() | st.floats(0, 255))
        frames = replace(FRAMES_OF_6, decoding=Decoding(way, error))
        runs.append(SharedRun(made, frames, draw(WORDS), draw(WORDS)))
    return runs


@given(any_runs())
def test_runs_come_back_to_the_bit(runs: list[SharedRun]) -> None:
    found = runs_file.read(runs_file.to_bytes(runs))
    assert len(found) == len(runs)
    assert found.version == __version__
    for _ in range(2):  # as often as one likes
        assert all(map(equal, found, runs))
    assert [run.trajectory.key for run in found] == [run.trajectory.key for run in runs]


def test_any_reader_of_safetensors_reads_the_arrays() -> None:
    run = shared()
    arrays = load(runs_file.to_bytes([run]))
    assert arrays.keys() == {
        f"0.{name}"
        for name in ("latents", "model_outputs", "timesteps", "alphas", "sigmas", "pictures")
    }
    assert np.array_equal(arrays["0.latents"], run.trajectory.latents)
    assert arrays["0.pictures"].tobytes() == b"".join((*run.frames.x0, run.frames.final))


def test_a_thousand_betas_are_told_once() -> None:
    config = json.dumps({"trained_betas": [0.5] * 1000})
    runs = [shared(path=f"1.{branch}", scheduler_config=config) for branch in range(10)]
    assert len(runs_file._describe(runs)[1]) < 30_000
    assert {run.trajectory.spec for run in runs_file.read(runs_file.to_bytes(runs))} == {
        runs[0].trajectory.spec
    }


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("monsters", "monsters"),
        ("stabilityai/sd-turbo", "stabilityai/sd-turbo"),
        ("/home/somebody/secret/mine", "mine"),
        ("models/mine/", "mine"),
        (r"C:\models\mine", "mine"),
        ("..", "model"),
    ],
)
def test_no_path_goes_out_and_none_comes_in(model: str, told: str) -> None:
    data = runs_file.to_bytes([shared(model=model)])
    assert told == model or model not in data.decode("latin-1")
    (run,) = runs_file.read(data)
    assert run.trajectory.spec.model == told
    forged = forge(lambda _, words: words["specifications"][0].update(model=model))
    (run,) = runs_file.read(forged)
    assert run.trajectory.spec.model == told
    assert run.trajectory.key == shared().trajectory.key


def test_the_first_schema_is_read_for_ever() -> None:
    """0.2.0 wrote it, of the runs below."""
    found = runs_file.read(FIXTURE)
    assert found.version == "0.2.0"
    assert all(map(equal, found, first_file()))
    assert len(found) == 2


def first_file() -> list[SharedRun]:
    frames = replace(FRAMES_OF_6, decoding=Decoding("linear", 12.5, 1.0))
    made = replace(shared(1, "1.0/3.2").trajectory, made="cpu, 1 threads")
    return [SharedRun(made, frames, "mine", "a note"), shared(2)]


# A store's runs go out, and come in as what they are.


def stored(*seeds: int) -> TrajectoryStore:
    store = store_in_memory()
    for seed in seeds:
        run = trajectory(seed)
        store.add(run)
        store.add_frames(run.key, FRAMES, *FRAMES_OF_6.to_payload())
    return store


def keys(*seeds: int) -> list[str]:
    return [trajectory(seed).key for seed in seeds]


def test_what_is_stored_is_written_and_imported_elsewhere(tmp_path: Path) -> None:
    store, other, file = stored(1, 2), store_in_memory(), tmp_path / "two.diffgrid"
    store.save(trajectory(1).key, "mine", "a note")
    size = runs_file.write(file, runs_file.Stored(store, keys(1, 2)))
    assert size == file.stat().st_size
    assert os.listdir(tmp_path) == ["two.diffgrid"]
    found = runs_file.read(file)
    assert other.add_imported(found, found.version) == keys(1, 2)
    assert other.add_imported(found, found.version) == []
    for seed in (1, 2):
        assert same(other.get_imported(*keys(seed)), trajectory(seed))
        assert other.get(*keys(seed)) is None
        assert not other.has(*keys(seed))
    infos = {info.spec.seed: info for info in other.runs()}
    assert not any(info.computed or info.saved for info in infos.values())
    (mine, unnamed) = (infos[seed].imported for seed in (1, 2))
    assert mine
    assert (mine.name, infos[1].note, mine.by) == ("mine", "a note", __version__)
    assert unnamed
    assert unnamed.name == ""


def test_a_run_without_pictures_or_one_that_was_imported_does_not_go_out(tmp_path: Path) -> None:
    store = stored(1)
    store.add(trajectory(2))
    store.add_imported([shared(3)], "0.2.0")
    refusals = {
        trajectory(2).key: "without its pictures",
        shared(3).trajectory.key: "imported: pass on the file",
        "ab" * 32: "not stored here",
    }
    for key, why in refusals.items():
        with pytest.raises(BadInput, match=why):
            runs_file.write(tmp_path / "no.diffgrid", runs_file.Stored(store, [*keys(1), key]))
    assert os.listdir(tmp_path) == []


def test_numbers_that_no_model_makes_do_not_go_out() -> None:
    run = shared()
    latents = run.trajectory.latents.copy()
    latents[0, 0, 0, 0] = np.nan
    broken = replace(run, trajectory=replace(run.trajectory, latents=latents))
    with pytest.raises(BadInput, match="its latents are not all finite"):
        runs_file.to_bytes([broken])


def test_an_import_beyond_its_quota_changes_nothing() -> None:
    store = TrajectoryStore(Path("memory"), imported_limit=500_000, shelves=lambda *_: shelves)
    store.add_imported([SharedRun(trajectory(1), FRAMES_OF_6)], "0.2.0")
    more = [SharedRun(trajectory(seed), FRAMES_OF_6) for seed in (2, 3)]
    with pytest.raises(StoreError, match="more than 500,000 bytes: remove one first"):
        store.add_imported(more, "0.2.0")
    assert [info.spec.seed for info in store.runs()] == [1]
    store.remove(trajectory(1).key)
    store.add_imported(more, "0.2.0")
    assert {info.spec.seed for info in store.runs()} == {2, 3}


shelves = store_in_memory()._shelves(Path("memory"), 0, 0, 0, False)


# Hostile files.


def forge(change: Callable[[dict[str, Any], dict[str, Any]], object], data: bytes = b"") -> bytes:
    """The file of one run with its table and its words changed, and more bytes at its end."""
    whole = runs_file.to_bytes([shared()])
    start = 8 + int.from_bytes(whole[:8], "little")
    table = json.loads(whole[8:start])
    words = json.loads(table["__metadata__"]["diffgrid"])
    change(table, words)
    if "__metadata__" in table and "diffgrid" in table["__metadata__"]:
        table["__metadata__"]["diffgrid"] = json.dumps(words)
    return packed(json.dumps(table).encode(), whole[start:] + data)


def packed(header: bytes, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def in_table(name: str, **changes: Any) -> bytes:
    return forge(lambda table, _: table[name].update(changes))


def in_run(**changes: Any) -> bytes:
    return forge(lambda _, words: words["runs"][0].update(changes))


def in_spec(**changes: Any) -> bytes:
    return forge(lambda _, words: words["specifications"][0].update(changes))


def with_number(name: str, value: float, at: int = 0) -> bytes:
    data = bytearray(WHOLE)
    begin, _ = json.loads(data[8:START])[name]["data_offsets"]
    kind = np.float32 if name in ("0.latents", "0.model_outputs") else np.float64
    number = kind(value).tobytes()
    begin += START + at * len(number)
    data[begin : begin + len(number)] = number
    return bytes(data)


WHOLE = runs_file.to_bytes([shared()])
START = 8 + int.from_bytes(WHOLE[:8], "little")
TABLE = json.loads(WHOLE[8:START])
TENSOR = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
MANY = {f"{i}": TENSOR for i in range(50_000)}
FAR = 10 * 2**30
WORDS_OF_IT = TABLE["__metadata__"]["diffgrid"]

HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "does not begin with a header"),
    "a picture": (FRAMES_OF_6.final, "does not begin with a header"),
    "cut within the length": (WHOLE[:5], "does not begin with a header"),
    "cut within the header": (WHOLE[: START // 2], "does not begin with a header"),
    "cut within the arrays": (WHOLE[:-1], "bytes, and it holds"),
    "a byte too many": (WHOLE + b"\0", "bytes, and it holds"),
    "a header of 2**63 bytes": (b"\xff" * 7 + b"\x7f" + WHOLE[8:], "does not begin with a header"),
    "a header of 5 MB": (packed(b" " * (5 * 2**20)), "does not begin with a header"),
    "50,000 tensors": (forge(lambda t, _: t.update(MANY)), "it holds 50,006 tensors"),
    "100,000 tensors": (
        forge(lambda t, _: t.update({f"1{name}": TENSOR for name in MANY}, **MANY)),
        "does not begin with a header",
    ),
    "a tensor of no run": (forge(lambda t, _: t.update({"1.latents": TENSOR})), "7 tensors"),
    "a tensor missing": (forge(lambda t, _: t.pop("0.sigmas")), "5 tensors"),
    "no JSON": (packed(b"{]"), "no JSON object"),
    "a list": (packed(b"[1, 2]"), "no JSON object"),
    "UTF-16": (packed('{"a": 1}'.encode("utf-16")), "no JSON object"),
    "400,000 levels": (packed(b"[" * 400_000), "no JSON object"),
    "levels of objects": (packed(b'{"a":' * 400_000), "no JSON object"),
    "a number of 5,000 digits": (packed(b'{"a": ' + b"9" * 5_000 + b"}"), "no JSON object"),
    "NaN": (packed(b'{"a": NaN}'), "'NaN', which is no number"),
    "-Infinity": (packed(b'{"a": -Infinity}'), "'-Infinity', which is no number"),
    "1e999": (packed(b'{"a": 1e999}'), "'1e999', which is no number"),
    "half a character": (packed(rb'{"a": "\ud800"}'), "no JSON object"),
    "a name twice": (packed(b'{"a": 1, "a": 2}'), "'a' twice"),
    "others' words beside": (
        forge(lambda t, _: t.update(__metadata__={"diffgrid": WORDS_OF_IT, "x": 1})),
        "diffgrid did not write it",
    ),
    "another's": (forge(lambda t, _: t.pop("__metadata__")), "diffgrid did not write it"),
    "no schema": (forge(lambda _, w: w.pop("schema")), "which schema"),
    "schema 0": (forge(lambda _, w: w.update(schema=0)), "which schema"),
    "schema true": (forge(lambda _, w: w.update(schema=True)), "which schema"),
    "no version": (forge(lambda _, w: w.update(diffgrid="<b>")), "which version"),
    "no runs": (forge(lambda _, w: w.update(runs=[])), "it has 0 runs"),
    "runs of another kind": (forge(lambda _, w: w.update(runs={})), "which runs"),
    "2,000 runs": (forge(lambda _, w: w.update(runs=w["runs"] * 2_000)), "it has 2,000 runs"),
    "a run twice": (forge(lambda _, w: w.update(runs=w["runs"] * 2)), "one run twice"),
    "a run that is none": (forge(lambda _, w: w.update(runs=[7])), "of run 1 is not"),
    "another specification": (in_run(specification=1), "of run 1 is not"),
    "a specification from the end": (in_run(specification=-1), "of run 1 is not"),
    "too many specifications": (
        forge(lambda _, w: w.update(specifications=w["specifications"] * 2)),
        "it has 1 runs",
    ),
    "a specification that is none": (
        forge(lambda _, w: w.update(specifications=[7])),
        "none, or too long",
    ),
    "a long specification": (in_spec(later="x" * 2**19), "none, or too long"),
    "a field missing": (
        forge(lambda _, w: w["specifications"][0].pop("seed")),
        "a run specification lacks",
    ),
    "a seed below 0": (in_spec(seed=-1), "seed -1 is not allowed"),
    "10**9 steps": (in_spec(num_inference_steps=10**9), "steps 1000000000"),
    "other steps": (in_spec(num_inference_steps=7), "of run 1 is not"),
    "no scheduler's": (in_spec(scheduler="__import__('os')"), "scheduler"),
    "a wild sigma": (in_spec(scheduler_config='{"sigma_data": []}'), "scheduler configuration"),
    "a wild limit": (
        in_spec(scheduler_config='{"clip_sample": true, "clip_sample_range": [1]}'),
        "the limit of",
    ),
    "a wild share": (
        in_spec(
            scheduler_config='{"thresholding": true, "dynamic_thresholding_ratio": 7}',
        ),
        "dynamic_thresholding_ratio 7",
    ),
    "half a character in a configuration": (
        in_spec(scheduler_config=r'{"a": "\ud800"}'),
        "scheduler configuration",
    ),
    "a path that is none": (in_run(path="../../etc"), "path '../../etc'"),
    "a path too late": (in_run(path="5.0"), "too late"),
    "another prediction": (in_run(prediction_type="all"), "prediction type 'all'"),
    "a long name": (in_run(name="x" * 201), "name has 201 characters"),
    "a name of another kind": (in_run(name=["x"]), "of run 1 is not"),
    "another way": (in_run(pictures={"way": "x", "x0": [1] * 6, "final": 1}), "of run 1 is not"),
    "pictures of other lengths": (
        in_run(pictures={"way": "vae", "x0": [1] * 6, "final": 1}),
        "the frames are damaged",
    ),
    "pictures that are none": (
        WHOLE[: -len(FRAMES_OF_6.final)] + b"<svg onload=alert(1)>".ljust(len(FRAMES_OF_6.final)),
        "not a whole WebP or PNG",
    ),
    "another type": (in_table("0.latents", dtype="F16"), "0.latents is not float32"),
    "an unknown type": (in_table("0.latents", dtype=7), "0.latents is not float32"),
    "more in a tensor's place": (in_table("0.latents", more=1), "0.latents is not float32"),
    "a shape of no numbers": (in_table("0.latents", shape=[7, "4", 2, 2]), "tensors, which"),
    "a side of 0": (in_table("0.latents", shape=[7, 0, 2, 2]), "tensors, which"),
    "a side below 0": (in_table("0.latents", shape=[7, -4, -2, 2]), "tensors, which"),
    "three sides": (in_table("0.latents", shape=[7, 4, 4]), "tensors, which"),
    "a step too few": (in_table("0.latents", shape=[6, 4, 2, 2]), "0.latents is not float32"),
    "outputs of another shape": (
        in_table("0.model_outputs", shape=[6, 2, 4, 2]),
        "0.model_outputs is not",
    ),
    "more than all memory": (
        in_table("0.latents", shape=[7, 2**40, 2**40, 2**40]),
        "0.latents is not",
    ),
    "offsets that are none": (in_table("0.latents", data_offsets=[0]), "0.latents is not"),
    "offsets true": (in_table("0.alphas", data_offsets=[False, True]), "0.alphas is not"),
    "offsets below 0": (in_table("0.latents", data_offsets=[-448, 0]), "do not lie end to end"),
    "10 GB": (in_table("0.latents", data_offsets=[FAR, FAR + 448]), "do not lie end to end"),
    "offsets backwards": (in_table("0.latents", data_offsets=[448, 0]), "0.latents is not"),
    "tensors on each other": (
        in_table("0.sigmas", data_offsets=TABLE["0.alphas"]["data_offsets"]),
        "do not lie end to end",
    ),
    "NaN in x_t": (with_number("0.latents", np.nan), "its latents are not all finite"),
    "infinity in outputs": (with_number("0.model_outputs", np.inf, 5), "its model outputs are not"),
    "NaN in timesteps": (with_number("0.timesteps", np.nan), "its timesteps are not"),
    "a level below 0": (with_number("0.sigmas", -1.0), "no noise levels"),
    "levels of no size": (with_number("0.alphas", 1e300), "no noise levels"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_one_sentence_and_changes_nothing(name: str, tmp_path: Path) -> None:
    data, why = HOSTILE[name]
    file, store = tmp_path / "x.diffgrid", store_in_memory()
    file.write_bytes(data)

    def take_in(source: bytes | Path) -> None:
        found = runs_file.read(source)
        store.add_imported(found, found.version)

    for source in (data, file):
        with pytest.raises(BadInput) as refusal:
            take_in(source)
        said = str(refusal.value)
        assert why in said
        assert said.startswith("this file " if source is data else "file ")
        assert "\n" not in said
        assert len(said) < 700
    assert list(store._imported) == []


def test_what_is_forged_with_nothing_changed_is_a_sound_file() -> None:
    (run,) = runs_file.read(forge(lambda *_: None))
    assert equal(run, shared())


def test_a_newer_schema_says_what_to_do() -> None:
    newer = forge(lambda _, words: words.update(schema=2, diffgrid="7.1", runs="otherwise"))
    with pytest.raises(OtherVersion) as refusal:
        runs_file.read(newer)
    assert str(refusal.value) == (
        "this file was written by diffgrid 7.1 in schema 2, and this version reads schema 1: use a "
        "newer diffgrid."
    )


def test_a_file_that_is_too_large_or_none_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="at most 1,000 are allowed"):
        runs_file.read(WHOLE, most=1_000)
    for name in ("nowhere", ".", "a\0b", "/dev/zero"):
        with pytest.raises(BadInput, match="there is no such file|null byte"):
            runs_file.read(tmp_path / name)


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_byte_that_was_changed_is_another_run_or_one_sentence(place: int, bits: int) -> None:
    data = bytearray(WHOLE)
    data[place] ^= bits
    runs, said = list[SharedRun](), ""
    try:
        runs = [*runs_file.read(bytes(data))]
    except DiffgridError as error:
        said = str(error)
    assert [len(runs), len(said.splitlines())] in ([1, 0], [0, 1])
    assert all(np.isfinite(run.trajectory.latents).all() for run in runs)


def test_it_names_ways_that_the_store_knows() -> None:
    store = store_in_memory()
    for number, way in enumerate(sorted(runs_file._WAYS)):
        run = replace(shared(number), frames=replace(FRAMES_OF_6, decoding=Decoding(way)))
        store.add_imported([run], "0.2.0")
        digests = [*DIGESTS.values(), "linear-1"]
        key = run.trajectory.key
        assert sum(store.get_imported_frames(key, digest) is not None for digest in digests) == 1
