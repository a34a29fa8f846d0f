"""Stored runs: what goes in comes out, what is damaged does not, what is saved or foreign stays."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from diffgrid.errors import BadInput, StoreError
from diffgrid.records.codec import seal
from diffgrid.records.shared_run import SharedRun
from diffgrid.records.trajectories import Trajectory, to_bytes
from diffgrid.spec.path import parse_path
from diffgrid.spec.run import key
from diffgrid.store.memory import MemoryShelf
from diffgrid.store.runs import Runs
from diffgrid.store.shelf import Shelf
from tests.fakes import pictures
from tests.store.made import OTHER_VERSIONS, SPEC, flipped, same, trajectory, with_another_sampler


@pytest.fixture
def opened() -> Runs:
    kept = MemoryShelf(0, evict=False), MemoryShelf(0, evict=False)
    return Runs(MemoryShelf(10**9), *kept, saved_limit=600_000, imported_limit=600_000)


def frames(opened: Runs, key_: str) -> tuple[dict[str, Any], bytes] | None:
    found = opened.get_frames(key_, "abc")
    return found and (found[0], bytes(found[1]))


def test_a_trajectory_is_written_once(opened: Runs) -> None:
    first = trajectory()
    opened.add(first)
    opened.add(replace(first, latents=first.latents + 1))
    assert same(opened.get(first.key), first)


def test_the_store_has_what_was_finished_and_stored(opened: Runs) -> None:
    made, begun = trajectory(), trajectory(seed=8, steps=3)
    opened.add(made)
    opened.put_partial(begun)
    assert opened.has(made.key)
    assert not opened.has(begun.key)
    opened.save(made.key, "kept")
    opened.clear()
    assert opened.has(made.key)
    opened.remove(made.key)
    assert not opened.has(made.key)


def test_a_checkpoint_is_replaced_and_goes_with_the_finished_run(opened: Runs) -> None:
    done = trajectory()
    for steps in (0, 2, 4):
        opened.put_partial(trajectory(steps=steps))
        assert same(opened.get_partial(done.key), trajectory(steps=steps))
    assert opened.get(done.key) is None
    assert opened.runs() == []
    opened.add(done)
    assert opened.get_partial(done.key) is None


def test_an_unfinished_trajectory_is_not_added(opened: Runs) -> None:
    with pytest.raises(ValueError, match="5 of 6 steps"):
        opened.add(trajectory(steps=5))


@pytest.mark.parametrize("size", [10, 100_000])
def test_frames_come_back_by_their_decoder(opened: Runs, size: int) -> None:
    run, pictures = trajectory(), os.urandom(size)
    opened.add(run)
    opened.add_frames(run.key, "abc123", {"lengths": [size]}, pictures)
    header, payload = opened.get_frames(run.key, "abc123") or ({}, b"")
    assert header == {"lengths": [size]}
    assert payload == pictures
    assert opened.get_frames(run.key, "other") is None
    with pytest.raises(ValueError, match="digest"):
        opened.get_frames(run.key, "../meta")


def test_runs_are_listed_newest_first(opened: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, path in ((1, "trunk"), (2, "3.1")):
        monkeypatch.setattr(time, "time", lambda seed=seed: 1000.0 + seed)
        opened.add(trajectory(seed, path))
    opened.add_frames(key(replace(SPEC, seed=1), ()), "abc", {}, b"picture")
    newest, oldest = opened.runs()
    assert newest.spec == replace(SPEC, seed=2)
    assert newest.path == parse_path("3.1")
    assert newest.key == key(newest.spec, newest.path)
    assert newest.created == 1002.0
    assert newest.size == 4 * 13 * 4 * 32 * 32
    assert newest.saved is None
    assert (newest.has_frames, oldest.has_frames) == (False, True)


def test_a_prefix_finds_its_run(opened: Runs) -> None:
    run = trajectory()
    opened.add(run)
    assert opened.find(run.key[:8]) == run.key
    opened.save(run.key, "both copies count as one")
    assert opened.find(run.key) == run.key
    for prefix in ("", "zzzz", "../..", "0" * 64, f"{run.key}/meta"):
        with pytest.raises(BadInput, match="no stored run has the key"):
            opened.find(prefix)


def test_an_ambiguous_prefix_is_refused(opened: Runs) -> None:
    keys: dict[str, list[str]] = {}
    for seed in range(17):  # of 17 keys, two begin with the same of 16 digits
        run = trajectory(seed, side=4)
        opened.add(run)
        keys.setdefault(run.key[0], []).append(run.key)
    shared = next(digit for digit, found in keys.items() if len(found) > 1)
    with pytest.raises(BadInput, match="several stored runs .* give more of its digits"):
        opened.find(shared)


# Saved runs


def test_a_saved_run_outlives_the_cache(opened: Runs) -> None:
    run = trajectory()
    opened.add(run)
    opened.add_frames(run.key, "abc", {"n": 1}, b"picture")
    (before,) = opened.runs()
    opened.save(run.key, " the green one ")
    opened.clear()
    assert same(opened.get(run.key), run)
    assert frames(opened, run.key) == ({"n": 1}, b"picture")
    (info,) = opened.runs()
    assert info == replace(before, saved="the green one")
    opened.save(run.key, "renamed")
    assert opened.runs() == [replace(info, saved="renamed")]


def test_a_saved_run_has_a_note_until_another_takes_its_place(opened: Runs) -> None:
    run = trajectory()
    opened.add(run)
    notes = []
    for note in (" eyes decided late\n", None, ""):
        opened.save(run.key, "mine", note)
        notes += [info.note for info in opened.runs()]
    assert notes == ["eyes decided late", "eyes decided late", ""]
    with pytest.raises(BadInput, match="2,001 characters is too long: use at most 2,000"):
        opened.save(run.key, "mine", "x" * 2001)


def test_a_run_saved_before_there_were_notes_has_an_empty_one(opened: Runs) -> None:
    run = trajectory()
    opened.add(run)
    header = {"specification": run.spec.to_dict(), "path": "trunk", "created": 1.0, "size": 9}
    opened._runs.set(f"{run.key}/meta", seal("meta", {**header, "saved": None}))
    assert [info.note for info in opened.runs()] == [""]


def test_a_run_that_is_saved_no_longer_is_an_ordinary_one_again(opened: Runs) -> None:
    run = trajectory()
    opened.add(run)
    opened.add_frames(run.key, "vae-1", {"x0": [1]}, b"x")
    opened.save(run.key, "for now")
    opened.clear()
    assert opened.is_saved(run.key)
    opened.unsave(run.key)
    assert not opened.is_saved(run.key)
    assert same(opened.get(run.key), run)
    header, payload = opened.get_frames(run.key, "vae-1") or ({}, b"")
    assert (header, bytes(payload)) == ({"x0": [1]}, b"x")
    assert [info.saved for info in opened.runs()] == [None]
    opened.clear()
    assert opened.get(run.key) is None
    opened.unsave(run.key)  # of what is not there: nothing happens


def test_frames_drawn_after_saving_are_saved_too(opened: Runs) -> None:
    run = trajectory()
    opened.add(run)
    opened.save(run.key, "mine")
    opened.add_frames(run.key, "abc", {}, b"picture")
    opened.clear()
    assert frames(opened, run.key) == ({}, b"picture")


def test_only_stored_runs_can_be_saved_and_only_with_a_name(opened: Runs) -> None:
    with pytest.raises(BadInput, match="no stored run has the key"):
        opened.save("0" * 64, "mine")
    opened.add(trajectory())
    for name in ("", "  ", "x" * 201):
        with pytest.raises(BadInput, match="use 1 to 200 characters"):
            opened.save(trajectory().key, name)


def test_saving_stops_at_its_quota(opened: Runs) -> None:
    for seed in (1, 2):
        opened.add(trajectory(seed))
        opened.save(trajectory(seed).key, "mine")
    opened.add(trajectory(3))
    with pytest.raises(StoreError, match="more than 600,000 bytes: remove one first"):
        opened.save(trajectory(3).key, "mine")
    opened.remove(trajectory(1).key)
    opened.save(trajectory(3).key, "mine")
    opened.clear()
    assert {info.spec.seed for info in opened.runs()} == {2, 3}


# Damage


def test_a_run_whose_description_was_evicted_is_listed_again(opened: Runs) -> None:
    run = trajectory(path="2.0")
    opened.add(run)
    opened._runs.delete(f"{run.key}/meta")
    (info,) = opened.runs()
    assert (info.key, info.path) == (run.key, run.path)


def damage(shelf: Shelf, row: str) -> bytes:
    """Flip a bit of a row; returns what is there now."""
    value = flipped(shelf.get(row) or b"")
    shelf.set(row, value)
    return value


def test_a_damaged_saved_run_stays_until_it_is_computed_again(opened: Runs) -> None:
    run = trajectory()
    opened.add(run)
    opened.save(run.key, "mine")
    opened.clear()
    found = damage(opened._saved, run.key)
    assert opened.has(run.key)  # nobody has read it
    for _ in range(2):
        assert opened.get(run.key) is None
        assert not opened.has(run.key)
        assert [(found.cache, found.row) for found in opened.verify()] == [("saved", run.key)]
        assert [info.saved for info in opened.runs()] == ["mine"]
    assert opened._saved.get(run.key) == found
    opened.add(run)
    assert opened.has(run.key)
    (info,) = opened.runs()
    assert info.saved == "mine"
    assert opened.verify() == []
    assert same(opened.get(run.key), run)


def test_a_saved_run_with_a_damaged_description_is_still_listed_as_saved(opened: Runs) -> None:
    run = trajectory()
    opened.add(run)
    opened.save(run.key, "mine")
    found = damage(opened._saved, f"{run.key}/meta")
    assert [info.saved for info in opened.runs()] == [run.key[:8]]
    assert opened.is_saved(run.key)
    assert opened._saved.get(f"{run.key}/meta") == found
    opened.save(run.key, "mine again")
    assert [info.saved for info in opened.runs()] == ["mine again"]
    assert opened.verify() == []


def test_damaged_saved_frames_are_saved_again_when_drawn(opened: Runs) -> None:
    run = trajectory()
    opened.add(run)
    opened.save(run.key, "mine")
    opened.add_frames(run.key, "abc", {}, b"picture")
    damage(opened._saved, f"{run.key}/frames/abc")
    assert frames(opened, run.key) is None
    assert len(opened.verify()) == 1
    opened.add_frames(run.key, "abc", {}, b"picture")
    assert frames(opened, run.key) == ({}, b"picture")


def test_saving_again_mends_a_saved_run_that_was_damaged(opened: Runs) -> None:
    run = trajectory()
    opened.add(run)
    opened.save(run.key, "mine")
    damage(opened._saved, run.key)
    assert same(opened.get(run.key), run)  # the other copy
    opened.save(run.key, "mine")
    opened.clear()
    assert same(opened.get(run.key), run)


def test_verify_says_what_is_wrong_where(opened: Runs) -> None:
    run = trajectory(side=4)
    opened.add(run)
    opened.add_frames(run.key, "abc", {}, b"picture")
    opened.put_partial(trajectory(8, steps=2, side=4))
    opened.save(run.key, "mine")
    assert opened.verify() == []
    opened._runs.set(run.key, seal("frames", {}, b"picture"))
    opened._runs.set(f"{run.key}/meta", seal("meta", {}))
    damage(opened._runs, f"{trajectory(8).key}/partial")
    opened._runs.set("not a key", b"something")
    opened._saved.set(f"{run.key}/frames/abc", b"picture")
    saved = (
        "saved",
        f"{run.key}/frames/abc",
        "these 7 bytes were not written by diffgrid: look for another file.",
    )
    assert {(found.cache, found.row, found.reason) for found in opened.verify()} == {
        ("runs", run.key, "the value is not a diffgrid trajectory: look for another file."),
        ("runs", f"{run.key}/meta", "the description lacks a field."),
        (
            "runs",
            f"{trajectory(8).key}/partial",
            "the value is damaged (its checksum is wrong): compute or fetch it again.",
        ),
        ("runs", "not a key", "the row is not one of diffgrid's."),
        saved,
    }
    assert [(found.cache, found.row, found.reason) for found in opened.verify()] == [saved]
    assert same(opened.get(run.key), run)  # the saved copy


@pytest.mark.parametrize("harm", [flipped, lambda value: flipped(value, 9)])
def test_a_run_is_not_lost_when_it_is_saved_no_longer(
    opened: Runs, harm: Callable[[bytes], bytes]
) -> None:
    run = trajectory(side=4)
    opened.add(run)
    opened.save(run.key, "mine")
    opened._runs.set(run.key, harm(opened._runs.get(run.key) or b""))  # damaged, or another layout
    opened.unsave(run.key)
    assert same(opened.get(run.key), run)


# Rows of another version


def all_rows(opened: Runs) -> dict[tuple[Shelf, str], bytes | None]:
    return {(s, row): s.get(row) for s in (opened._runs, opened._saved) for row in s}


@pytest.mark.parametrize("change", OTHER_VERSIONS)
def test_what_another_version_wrote_is_a_miss_and_stays(
    opened: Runs, monkeypatch: pytest.MonkeyPatch, change: Callable[[pytest.MonkeyPatch], None]
) -> None:
    kept, other = trajectory(1, side=4), trajectory(2, side=4)
    for run in (kept, other):
        opened.add(run)
        opened.add_frames(run.key, "abc", {}, b"picture")
        opened.add_labels(run.key, "probe", {}, b"picture")
    names = {run: run.key for run in (kept, other)}
    begun = trajectory(3, steps=2, side=4)
    opened.put_partial(begun)
    begun_name = begun.key
    opened.save(kept.key, "mine", "a note")
    opened._runs.set(f"{kept.key}/something/new", b"of a later version")
    before = all_rows(opened)
    with monkeypatch.context() as changed:
        change(changed)
        for name in names.values():
            assert opened.get(name) is None
            assert not opened.has(name)
            assert opened.find(name) == name
        assert opened.get_partial(begun_name) is None
        assert opened.runs() == []
        assert opened.verify() == []
        listed = [(found.key, found.saved, found.reason) for found in opened.unreadable([])]
        assert listed == [
            (names[kept], True, "made by another version of diffgrid"),
            (names[other], False, "made by another version of diffgrid"),
        ]
        for name in names.values():
            opened.get_frames(name, "abc")
            opened.get_labels(name, "probe")
            with pytest.raises(BadInput, match="no stored run"):
                opened.save(name, "mine")
    assert all_rows(opened) == before
    for run, name in names.items():
        assert same(opened.get(name), run)
    assert {info.saved for info in opened.runs()} == {"mine", None}


def another_layouts(value: bytes) -> bytes:
    return flipped(value, 9)


def test_what_can_be_said_of_another_versions_run_is_said(
    opened: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trajectory(side=4)
    name = run.key
    opened.add(run)
    opened.add_frames(name, "abc", {}, b"picture")
    opened.save(name, "mine")
    with_another_sampler(monkeypatch)
    (found,) = opened.unreadable(opened.runs())
    assert (found.name, found.prompt) == ("mine", SPEC.prompt)
    assert frames(opened, name) == ({}, b"picture")
    opened.remove(name)  # as if it were one that lists show
    assert [each.name for each in opened.unreadable([])] == ["mine"]
    opened.remove(name, unreadable=True)
    assert opened.unreadable([]) == []


def test_a_saved_run_of_which_too_little_is_left_is_listed_as_damaged(opened: Runs) -> None:
    run = trajectory(side=4)
    opened.add(run)
    opened.save(run.key, "mine")
    opened.clear()
    for row in (run.key, f"{run.key}/meta"):
        damage(opened._saved, row)
    assert opened.runs() == []
    (found,) = opened.unreadable([])
    assert (found.key, found.reason, found.saved) == (run.key, "damaged", True)
    assert opened.find(run.key[:8]) == run.key
    opened.remove(run.key, unreadable=True)
    assert opened.unreadable([]) == []


def test_a_saved_run_that_cannot_be_read_is_not_hidden_nor_removed_by_a_copy_that_can(
    opened: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trajectory(side=4)
    opened.add(run)
    opened.save(run.key, "mine")
    opened.clear()
    for row in (run.key, f"{run.key}/meta"):
        damage(opened._saved, row)
    opened.add_imported([SharedRun(run, pictures(run.steps))], "0.2.0")
    (listed,) = opened.runs()
    assert not listed.computed
    assert [each.saved for each in opened.unreadable([listed])] == [True]
    opened.remove(run.key)
    assert opened.runs() == []
    assert [each.saved for each in opened.unreadable([])] == [True]
    opened.add_imported([SharedRun(run, pictures(run.steps))], "0.2.0")
    opened.remove(run.key, unreadable=True)
    assert opened.unreadable([]) == []
    assert [info.key for info in opened.runs()] == [run.key]


@pytest.mark.parametrize("foreign", [another_layouts, lambda _: to_bytes(trajectory(8, side=4))])
def test_what_another_version_wrote_stays_and_keeps_nobody_from_writing(
    opened: Runs, foreign: Callable[[bytes], bytes]
) -> None:
    run, begun = trajectory(side=4), trajectory(side=4, steps=2)
    rows = [f"{run.key}{kind}" for kind in ("", "/meta", "/partial", "/frames/a", "/labels/p")]
    opened.add(run)
    opened.put_partial(begun)
    opened.add_frames(run.key, "a", {"n": 1}, b"")
    opened.add_labels(run.key, "p", {"n": 2}, b"")
    theirs = {row: another_layouts(opened._runs.get(row) or b"") for row in rows}
    theirs[run.key] = foreign(to_bytes(run))
    for row, value in theirs.items():
        opened._runs.set(row, value)
    for _ in range(2):
        opened.put_partial(begun)
        assert same(opened.get_partial(run.key), begun)
        opened.add(run)
        assert opened.get_partial(run.key) is None
        opened.add_frames(run.key, "a", {"n": 1}, b"")
        opened.add_labels(run.key, "p", {"n": 2}, b"")
        assert opened.has(run.key)
        assert same(opened.get(run.key), run)
        for found, number in ((opened.get_frames, 1), (opened.get_labels, 2)):
            header, _ = found(run.key, "a" if number == 1 else "p") or ({}, b"")
            assert header == {"n": number}
        assert [info.key for info in opened.runs()] == [run.key]
        assert opened.unreadable(opened.runs()) == []
        assert opened.verify() == []
    assert {row: opened._runs.get(row) for row in rows} == theirs
    opened.save(run.key, "mine")
    opened.clear()
    assert same(opened.get(run.key), run)


def test_a_saved_description_of_another_version_is_not_written_over(opened: Runs) -> None:
    run = trajectory(side=4)
    opened.add(run)
    opened.save(run.key, "theirs")
    row = f"{run.key}/meta"
    theirs = another_layouts(opened._saved.get(row) or b"")
    opened._saved.set(row, theirs)
    opened.save(run.key, "ours")
    assert opened._saved.get(row) == theirs
    assert [info.saved for info in opened.runs()] == ["ours"]


def with_photo(seed: int) -> Trajectory:
    """A run that begins with a picture."""
    begun = trajectory(seed)
    spec = replace(begun.spec, added=f'{{"image": "{"ab" * 32}", "strength": 1}}')
    return replace(begun, spec=spec)


def test_a_photo_is_kept_beside_the_runs_and_is_none(opened: Runs) -> None:
    opened.add_photo("ab" * 32, b"a picture")
    opened.add_photo("ab" * 32, b"another")
    assert opened.get_photo("ab" * 32) == b"a picture"
    assert opened.get_photo("cd" * 32) is None
    assert opened.runs() == []
    assert opened.unreadable([]) == []
    assert opened.verify() == []
    with pytest.raises(BadInput, match="no stored run"):
        opened.find("ab")


def test_a_saved_run_keeps_its_photo_for_as_long_as_any_needs_it(opened: Runs) -> None:
    one, other = with_photo(1), with_photo(2)
    opened.add_photo("ab" * 32, b"a picture")
    for each in (one, other):
        opened.add(each)
        opened.save(each.key, "kept")
    opened.clear()
    assert opened.get_photo("ab" * 32) == b"a picture"
    assert [info.saved for info in opened.runs()] == ["kept", "kept"]
    assert opened.unreadable(opened.runs()) == []
    opened.remove(one.key)
    opened.clear()
    assert opened.get_photo("ab" * 32) == b"a picture"
    opened.unsave(other.key)
    assert opened.get_photo("ab" * 32) == b"a picture"  # as long as others now
    opened.remove(other.key)  # the last that begins with it
    assert opened.get_photo("ab" * 32) is None


def test_a_damaged_photo_is_a_miss_and_is_written_again(opened: Runs) -> None:
    opened.add_photo("ab" * 32, b"a picture")
    damage(opened._runs, f"{'ab' * 32}/photo")
    assert opened.get_photo("ab" * 32) is None
    opened.add_photo("ab" * 32, b"a picture")
    assert opened.get_photo("ab" * 32) == b"a picture"


def test_listing_is_no_use_of_a_run(opened: Runs) -> None:
    for seed in (1, 2):
        opened.add(trajectory(seed, side=4))
    before = list(opened._runs)  # the one used longest ago first
    assert len(opened.runs()) == 2
    assert list(opened._runs) == before
