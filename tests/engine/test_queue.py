"""Who is next, with works that do nothing and no thread."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from diffgrid.engine.protocol import Models
from diffgrid.engine.queue import REMEMBERED, Queue
from diffgrid.errors import Busy

MOST = 8


@dataclass(eq=False)
class Task:
    """A work that a test ends."""

    identity: str
    open: bool = True
    ended: bool = False

    def run(self, models: Models, interrupted: Callable[[], bool]) -> None:
        raise AssertionError("a queue runs nothing")


@dataclass(eq=False)
class Person:
    session: str

    def cancel(self) -> None:
        raise AssertionError("a queue cancels nothing")


@pytest.fixture
def queue() -> Queue[Task]:
    return Queue()


def ask(queue: Queue[Task], name: str, session: str = "", most: int = MOST) -> tuple[Task, Person]:
    """As an engine does: join who asked for it already, or be new."""
    wanted, person = Task(name), Person(session)
    task = queue.find(wanted) or wanted
    queue.ask(task, person, most)
    return task, person


def done(queue: Queue[Task]) -> list[str]:
    """What the worker does, one after the other, to the end."""
    names = []
    while (task := queue.next()) is not None:
        assert isinstance(task, Task)
        names.append(task.identity)
        task.ended = True
        queue.finish(task)
    return names


def test_nothing_is_next_where_nothing_is_asked(queue: Queue[Task]) -> None:
    assert queue.next() is None
    assert not queue.outbid()


def test_sessions_take_turns_and_within_one_who_came_first(queue: Queue[Task]) -> None:
    for session, name in ("a1", "a2", "a3", "b4", "b5", "c6"):
        ask(queue, name, session)
    assert done(queue) == ["1", "4", "6", "2", "5", "3"]


def test_requests_go_before_loading_before_wishes_before_the_background(
    queue: Queue[Task],
) -> None:
    queue.add_background(Task("study"), MOST)
    queue.wish(Task("wish"), "a")
    queue.load(Task("loading"))
    ask(queue, "request", "b")
    assert done(queue) == ["request", "loading", "wish", "study"]


def test_identical_requests_are_one_and_the_earliest_turn_of_those_who_ask_counts(
    queue: Queue[Task],
) -> None:
    ask(queue, "first", "a")
    assert queue.next() is not None  # a was served
    ask(queue, "alone", "a")
    ask(queue, "shared", "a")
    assert ask(queue, "shared", "b")[0] is ask(queue, "shared", "c")[0]
    assert done(queue) == ["shared", "alone"]


def test_what_runs_is_joined_unless_it_is_about_to_stop(queue: Queue[Task]) -> None:
    task, _ = ask(queue, "one")
    queue.next()
    assert ask(queue, "one")[0] is task
    task.open = False
    assert ask(queue, "one")[0] is not task


def test_a_full_queue_refuses_what_is_new_and_lets_others_join(queue: Queue[Task]) -> None:
    ask(queue, "one", most=1)
    with pytest.raises(Busy, match="the server is busy: 1 grid is waiting; try again"):
        ask(queue, "two", most=1)
    ask(queue, "one", most=1)
    assert done(queue) == ["one"]


def test_only_a_sessions_newest_wish_counts_and_the_newest_of_all_is_first(
    queue: Queue[Task],
) -> None:
    for name, session in (("old", "a"), ("other", "b"), ("new", "a")):
        queue.wish(Task(name), session)
    assert done(queue) == ["new", "other"]


def test_who_asks_for_something_wishes_nothing_any_more(queue: Queue[Task]) -> None:
    queue.wish(Task("wish"), "a")
    queue.wish(Task("kept"), "b")
    ask(queue, "request", "a")
    assert done(queue) == ["request", "kept"]


def test_what_nobody_waits_for_makes_way_and_is_not_joined_any_more(queue: Queue[Task]) -> None:
    wish = Task("wish")
    queue.wish(wish, "a")
    assert queue.next() is wish
    assert queue.find(Task("wish")) is wish
    ask(queue, "request", "b")
    assert queue.outbid()
    assert queue.find(Task("wish")) is None
    wish.ended = True
    queue.finish(wish)
    assert done(queue) == ["request"]
    assert not queue.outbid()


def test_a_wish_that_somebody_waits_for_by_now_makes_no_way(queue: Queue[Task]) -> None:
    wish = Task("wish")
    queue.wish(wish, "a")
    queue.next()
    assert ask(queue, "wish", "a")[0] is wish
    ask(queue, "request", "b")
    assert not queue.outbid()


def test_background_work_takes_turns_part_by_part_and_makes_way(queue: Queue[Task]) -> None:
    one, two = Task("one"), Task("two")
    queue.add_background(one, MOST)
    queue.add_background(two, MOST)
    assert queue.next() is one
    ask(queue, "request")
    assert queue.outbid()
    queue.finish(one)  # it made way
    request = queue.next()
    assert isinstance(request, Task)
    assert request.identity == "request"
    request.ended = True
    queue.finish(request)
    assert queue.next() is two
    assert not queue.outbid()
    queue.finish(two)
    assert queue.next() is one


def test_so_much_background_work_is_taken_and_what_has_ended_makes_room(
    queue: Queue[Task],
) -> None:
    task = Task("one")
    queue.add_background(task, 1)
    with pytest.raises(Busy, match="busy with other work"):
        queue.add_background(Task("two"), 1)
    task.ended = True
    queue.add_background(Task("two"), 1)
    assert done(queue) == ["two"]


def test_the_last_one_who_leaves_takes_it_out_of_the_queue(queue: Queue[Task]) -> None:
    task, one = ask(queue, "task", "a")
    _, other = ask(queue, "task", "b")
    assert queue.leave(task, one)
    assert not queue.leave(task, one)
    assert queue.asked(task)
    assert queue.leave(task, other)
    assert not queue.asked(task)
    assert queue.drop(task)
    assert not queue.drop(task)
    assert done(queue) == []


def test_what_runs_cannot_be_dropped(queue: Queue[Task]) -> None:
    task, person = ask(queue, "task")
    queue.next()
    assert queue.leave(task, person)
    assert not queue.drop(task)


def test_as_many_sessions_are_remembered_as_are_allowed(queue: Queue[Task]) -> None:
    for number in range(REMEMBERED + 5):
        queue.wish(Task(str(number)), str(number))
    assert len(done(queue)) == REMEMBERED


def test_whoever_waits_is_told_how_many_go_first(queue: Queue[Task]) -> None:
    first, _ = ask(queue, "1", "a")
    assert queue.before(first) == 0
    queue.next()
    second, _ = ask(queue, "2", "a")
    newcomer, person = ask(queue, "3", "b")
    assert [queue.before(each) for each in (first, newcomer, second)] == [0, 1, 2]
    queue.leave(newcomer, person)
    queue.drop(newcomer)  # who vanishes gives the place back
    assert queue.before(second) == 1
    queue.finish(first)
    assert queue.before(second) == 0
