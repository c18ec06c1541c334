import asyncio
from dataclasses import dataclass, field
from functools import wraps
from itertools import chain
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.dataplane.batcher import Batcher
from switchyard.errors import DeadlineExceeded, ModelFailed, NotReady, Overloaded

LATER = 1000.0


class ClockLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still until a test moves it."""

    now = 0.0

    def __init__(self):
        super().__init__()
        self.timers = []
        self.problems = []
        self.set_exception_handler(lambda _, context: self.problems.append(context))

    def time(self):
        return self.now

    def call_at(self, when, callback, *args, context=None):
        self.timers.append(super().call_at(when, callback, *args, context=context))
        return self.timers[-1]


def on_clock(test):
    """Runs a coroutine as a test on a `ClockLoop`."""

    @wraps(test)
    def run(**arguments):
        with asyncio.Runner(loop_factory=ClockLoop) as runner:
            runner.run(test(**arguments))
            assert runner.get_loop().problems == []

    return run


async def settle():
    for _ in range(8):
        await asyncio.sleep(0)


async def advance(seconds):
    asyncio.get_running_loop().now += seconds
    await settle()


@dataclass
class Rows:
    """Rows that know where they belong: (request, index)."""

    ids: list

    @property
    def rows(self):
        return len(self.ids)

    def slice(self, start, stop):
        return Rows(self.ids[start:stop])


@dataclass
class Call:
    parts: list
    outcome: asyncio.Future = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    @property
    def ids(self):
        return list(chain.from_iterable(part.columns.ids for part in self.parts))


class Host:
    """Stands for the way to a host: every batch waits until the test says what becomes of it."""

    def __init__(self, **settings):
        self.calls = []
        self.open = []
        self.poison = set()
        self.batcher = Batcher(self.send, join=self.join, **settings)

    @staticmethod
    def join(outputs):
        return list(chain.from_iterable(outputs))

    async def send(self, parts):
        call = Call(parts)
        self.calls.append(call)
        self.open.append(call)
        return await call.outcome

    def submit(self, request, rows=1, deadline=LATER):
        """Queues a request; its answer is to be its own ids."""
        return self.batcher.submit(Rows([(request, row) for row in range(rows)]), request, deadline)

    async def finish(self, index=0):
        """Lets a batch end as the poison in it demands."""
        call = self.open.pop(index)
        if self.poison.intersection(call.ids):
            call.outcome.set_exception(ModelFailed("The model raised ValueError."))
        else:
            call.outcome.set_result([part.columns.ids for part in call.parts])
        await settle()

    async def finish_all(self):
        while self.open:
            await self.finish()

    def sent(self):
        return [call.ids for call in self.calls]


def ids(request, *rows):
    return [(request, row) for row in rows]


@on_clock
async def test_request_without_rows_is_refused():
    with pytest.raises(ValueError, match="at least one row"):
        Host().submit("a", rows=0)


@pytest.mark.parametrize("slots", [0, -1])
def test_batcher_without_slots_is_refused(slots):
    with pytest.raises(ValueError, match="at least one slot"):
        Host().batcher.slots = slots


@on_clock
async def test_closed_batcher_takes_nothing():
    host = Host()
    await host.batcher.close()
    with pytest.raises(NotReady, match="stopping"):
        host.submit("a")


@on_clock
async def test_idle_batcher_sends_in_the_next_tick_and_gathers_what_came_in_this_one():
    host = Host()
    assert host.batcher.idle
    first, second = host.submit("a", rows=2), host.submit("b")
    assert host.batcher.rows_queued == 3
    await settle()
    assert host.sent() == [[*ids("a", 0, 1), *ids("b", 0)]]
    assert host.batcher.idle  # the second slot is free
    assert (host.batcher.rows_queued, host.batcher.in_flight) == (0, 1)
    await host.finish()
    assert await first == ids("a", 0, 1)
    assert await second == ids("b", 0)
    assert host.batcher.in_flight == 0


@on_clock
async def test_parts_carry_what_the_caller_needs_to_know():
    host = Host(max_rows=2, slots=1)
    host.submit("first")
    await advance(5.0)
    answer = host.submit("a", rows=3, deadline=9.0)
    await advance(1.0)
    await host.finish()
    await advance(1.0)
    await host.finish()
    first, second = (call.parts[0] for call in host.calls[1:])
    assert (first.tag, first.first_row, first.rows, first.deadline) == ("a", 0, 1, 9.0)
    assert (second.tag, second.first_row, second.rows, second.deadline) == ("a", 1, 2, 9.0)
    assert (first.queued_at, second.queued_at) == (5.0, 6.0)
    await host.finish()
    assert await answer == ids("a", 0, 1, 2)


@on_clock
async def test_requests_wait_for_a_slot_and_then_leave_together():
    host = Host(slots=2)
    for name in "ab":
        host.submit(name)
        await settle()
    for name in "cd":
        host.submit(name)
        await settle()
    assert host.batcher.in_flight == 2
    assert not host.batcher.idle
    await host.finish(1)
    assert host.sent() == [ids("a", 0), ids("b", 0), [*ids("c", 0), *ids("d", 0)]]


@on_clock
async def test_the_next_batch_leaves_before_the_answers_are_delivered():
    host = Host(slots=1)
    seen = []
    first = host.submit("a")
    first.add_done_callback(lambda _: seen.append(len(host.calls)))
    await settle()
    host.submit("b")
    await host.finish()
    assert seen == [2]


@on_clock
async def test_rows_are_counted_and_nobody_overtakes():
    host = Host(max_rows=4, slots=1)
    for name, rows in (("a", 2), ("b", 3), ("c", 1), ("d", 4)):
        host.submit(name, rows)
    await settle()
    await host.finish_all()
    assert host.sent() == [ids("a", 0, 1), [*ids("b", 0, 1, 2), *ids("c", 0)], ids("d", 0, 1, 2, 3)]


@on_clock
async def test_slots_may_change_at_run_time():
    host = Host(max_rows=1, slots=1)
    for name in "abcde":
        host.submit(name)
    await settle()
    assert host.batcher.in_flight == 1
    host.batcher.slots = 3
    await settle()
    assert host.batcher.in_flight == 3
    host.batcher.slots = 1
    await host.finish()
    await host.finish()
    assert host.batcher.in_flight == 1
    assert len(host.calls) == 3
    await host.finish()
    assert len(host.calls) == 4


@on_clock
async def test_oversize_request_is_cut_evenly_and_joined_in_order():
    host = Host(max_rows=4, slots=3)
    answer = host.submit("a", rows=10)
    await settle()
    assert host.sent() == [ids("a", 0, 1, 2), ids("a", 3, 4, 5), ids("a", 6, 7, 8, 9)]
    for index in (2, 0, 0):
        assert not answer.done()
        await host.finish(index)
    assert await answer == ids("a", *range(10))


@on_clock
async def test_oversize_request_takes_turns_with_small_ones():
    host = Host(max_rows=4, slots=1)
    host.submit("huge", rows=400)
    for name in "abcd":
        host.submit(name)
    assert host.batcher.rows_queued == 404
    await settle()
    await host.finish()
    assert host.sent() == [
        ids("huge", 0, 1, 2, 3),
        [*ids("a", 0), *ids("b", 0), *ids("c", 0), *ids("d", 0)],
    ]
    assert host.batcher.rows_queued == 396


@on_clock
async def test_queued_request_fails_at_its_deadline_and_is_never_sent():
    host = Host(slots=1)
    host.submit("a")
    await settle()
    answer = host.submit("b", deadline=2.0)
    await advance(1.99)
    assert not answer.done()
    await advance(0.02)
    with pytest.raises(DeadlineExceeded, match="time limit"):
        await answer
    assert host.batcher.rows_queued == 0
    await host.finish()
    assert host.sent() == [ids("a", 0)]


@on_clock
async def test_request_whose_deadline_passed_before_the_flush_is_not_sent():
    host = Host()
    answer = host.submit("a", deadline=0.0)
    await settle()
    with pytest.raises(DeadlineExceeded):
        await answer
    assert host.calls == []


@on_clock
async def test_request_in_flight_fails_at_its_deadline_and_its_neighbour_does_not():
    host = Host()
    late, other = host.submit("a", deadline=2.0), host.submit("b")
    await settle()
    await advance(2.0)
    with pytest.raises(DeadlineExceeded):
        await late
    await host.finish()
    assert await other == ids("b", 0)


@on_clock
async def test_one_timer_serves_all_requests_with_later_deadlines():
    host = Host()
    for number in range(100):
        host.submit(number, deadline=LATER + number)
    timers = asyncio.get_running_loop().timers
    assert len(timers) == 1
    sooner = host.submit("sooner", deadline=1.0)
    assert [timer.cancelled() for timer in timers] == [True, False]
    await settle()
    await advance(1.0)
    assert isinstance(sooner.exception(), DeadlineExceeded)
    assert len(timers) == 3  # armed anew for the others
    await host.finish_all()
    await host.batcher.close()
    assert timers[-1].cancelled()


@on_clock
async def test_deadlines_close_together_are_swept_together():
    host = Host()
    answers = [host.submit(n, deadline=1.0 + n / 10_000) for n in range(50)]
    await settle()
    await advance(1.0)
    await advance(0.011)
    assert all(isinstance(answer.exception(), DeadlineExceeded) for answer in answers)
    assert len(asyncio.get_running_loop().timers) == 2


@on_clock
async def test_late_comers_do_not_put_off_the_sweep():
    host = Host()
    answer = host.submit("a", deadline=0.005)
    await settle()
    for _ in range(3):
        await advance(0.004)
        host.submit("late", deadline=0.001).cancel()
    assert isinstance(answer.exception(), DeadlineExceeded)


@on_clock
async def test_cancelled_request_is_dropped_before_it_is_sent_and_harmless_after():
    host = Host(slots=1)
    flying = host.submit("a")
    await settle()
    queued, other = host.submit("b"), host.submit("c")
    flying.cancel()
    queued.cancel()
    await host.finish()
    assert host.sent() == [ids("a", 0), ids("c", 0)]
    await host.finish()
    assert await other == ids("c", 0)


@on_clock
async def test_cancelled_oversize_request_sends_no_further_piece():
    host = Host(max_rows=2, slots=1)
    huge = host.submit("huge", rows=10)
    await settle()
    other = host.submit("a")
    huge.cancel()
    await host.finish()
    assert host.sent() == [ids("huge", 0, 1), ids("a", 0)]
    assert host.batcher.rows_queued == 0
    await host.finish()
    assert await other == ids("a", 0)


@on_clock
async def test_poisonous_rows_fail_alone_and_are_named():
    host = Host()
    host.poison = {("b", 1), ("b", 2), ("d", 0)}
    answers = {
        name: host.submit(name, rows) for name, rows in zip("abcd", (1, 4, 2, 1), strict=True)
    }
    await settle()
    await host.finish_all()
    assert await answers["a"] == ids("a", 0)
    assert await answers["c"] == ids("c", 0, 1)
    with pytest.raises(ModelFailed, match="2 of 4 rows") as caught:
        await answers["b"]
    assert [(p.row, p.problem) for p in caught.value.details] == [
        (1, "The model raised ValueError."),
        (2, "The model raised ValueError."),
    ]
    with pytest.raises(ModelFailed, match="1 of 1 rows"):
        await answers["d"]
    assert sorted(host.sent()[1:]) == sorted([row] for row in host.calls[0].ids)


@on_clock
async def test_rows_of_an_oversize_request_are_named_by_their_place_in_it():
    host = Host(max_rows=2, slots=3)
    host.poison = {("a", 1), ("a", 4)}
    answer = host.submit("a", rows=5)
    await settle()
    while host.open:
        await host.finish(-1)
    with pytest.raises(ModelFailed, match="2 of 5 rows") as caught:
        await answer
    assert [problem.row for problem in caught.value.details] == [1, 4]


@on_clock
async def test_row_that_failed_alone_is_not_sent_again():
    host = Host()
    host.poison = {("a", 0)}
    answer = host.submit("a")
    await settle()
    await host.finish_all()
    assert isinstance(answer.exception(), ModelFailed)
    assert len(host.calls) == 1


@on_clock
async def test_retried_rows_take_turns_with_the_queue():
    host = Host(max_rows=8, slots=1)
    host.poison = {("bad", 0)}
    bad = host.submit("bad", rows=4)
    await settle()
    for name in "xy":
        host.submit(name, rows=8)
    await host.finish_all()
    assert [call[0] for call in host.sent()] == [
        ("bad", 0), ("x", 0), ("bad", 0), ("y", 0), ("bad", 1), ("bad", 2), ("bad", 3),
    ]  # fmt: skip
    assert isinstance(bad.exception(), ModelFailed)


@on_clock
async def test_the_queue_stands_still_while_a_whole_batch_is_to_be_retried():
    host = Host(max_rows=2, slots=1)
    host.poison = {("bad", 0)}
    bad = host.submit("bad", rows=2)
    await settle()
    for name in "xy":
        host.submit(name, rows=2)
    await host.finish_all()
    assert [call[0] for call in host.sent()] == [
        ("bad", 0), ("bad", 0), ("x", 0), ("bad", 1), ("y", 0),
    ]  # fmt: skip
    assert isinstance(bad.exception(), ModelFailed)


@pytest.mark.parametrize(
    "error", [NotReady("away"), Overloaded("full"), DeadlineExceeded("late"), KeyError("bug")]
)
@on_clock
async def test_other_errors_fail_the_whole_batch_and_are_not_retried(error):
    host = Host(max_rows=4, slots=1)
    answers = [host.submit("a"), host.submit("b", rows=2), host.submit("huge", rows=9)]
    await settle()
    await host.finish()
    host.open.pop().outcome.set_exception(error)
    await settle()
    assert answers[0].result() == ids("a", 0)
    assert answers[1].result() == ids("b", 0, 1)
    assert answers[2].exception() is error
    assert len(host.calls) == 2


@on_clock
async def test_send_that_loses_outputs_fails_the_batch():
    host = Host()
    answers = [host.submit("a"), host.submit("b")]
    await settle()
    host.open.pop().outcome.set_result([[("a", 0)]])
    await settle()
    for answer in answers:
        with pytest.raises(RuntimeError, match="2 parts were sent, 1 outputs came"):
            await answer


@on_clock
async def test_join_that_raises_fails_the_request():
    host = Host(max_rows=1, slots=1)
    answer = host.submit("a", rows=2)
    await settle()
    host.open.pop().outcome.set_result([None])
    await settle()
    await host.finish()
    with pytest.raises(TypeError):
        await answer


@on_clock
async def test_way_to_the_host_that_is_cut_fails_the_batch_and_frees_the_slot():
    host = Host(slots=1)
    answer = host.submit("a")
    await settle()
    other = host.submit("b")
    host.open.pop().outcome.cancel()
    await settle()
    with pytest.raises(NotReady, match="try again"):
        await answer
    await host.finish()
    assert await other == ids("b", 0)


def test_event_loop_that_goes_down_leaves_nothing_behind():
    async def leave():
        host = Host(max_rows=2, slots=2)
        answers = [host.submit("a"), host.submit("b", rows=7)]
        await settle()
        return host, answers

    with asyncio.Runner(loop_factory=ClockLoop) as runner:
        host, answers = runner.run(leave())
    assert all(answer.cancelled() for answer in answers)
    assert host.batcher.idle
    assert (host.batcher.rows_queued, host.batcher.in_flight) == (0, 0)


async def experienced(seconds, **settings):
    """A host with one slot, and the experience that a batch takes so long."""
    host = Host(slots=1, **settings)
    host.submit("first")
    await settle()
    await advance(seconds)
    await host.finish()
    return host


@on_clock
async def test_nothing_is_shed_before_there_is_experience():
    host = Host(max_rows=1, slots=1, max_queue_seconds=0.1)
    for number in range(1000):
        host.submit(number)
        await advance(0.001)
    assert host.batcher.rows_queued == 999


@on_clock
async def test_nothing_is_shed_while_idle_however_slow_the_model():
    host = await experienced(30.0)
    for number in range(5):
        answer = host.submit(number, deadline=LATER)
        await settle()
        await host.finish()
        assert answer.done()


@on_clock
async def test_request_that_would_wait_too_long_is_shed_with_a_time_to_retry():
    host = await experienced(0.09, max_rows=2, max_queue_seconds=0.2)
    host.submit("flying", rows=2)
    await settle()
    host.submit("a", rows=2)  # behind one batch
    host.submit("b", rows=2)  # behind two
    with pytest.raises(Overloaded, match=r"0\.27 s") as caught:
        host.submit("c")
    assert caught.value.retry_after == pytest.approx(0.27)
    await host.finish()
    host.submit("c")
    assert host.batcher.rows_queued == 3


@on_clock
async def test_wait_is_judged_by_what_batches_hold():
    host = await experienced(0.1, max_rows=4, max_queue_seconds=0.45)
    for _ in range(20):  # of these, only one fits in a batch
        host.submit("a", rows=3)
        host.submit("b", rows=3)
        await settle()
        for _ in range(2):
            await advance(0.1)
            await host.finish()
    host.submit("flying")
    await settle()
    for _ in range(5):
        host.submit("a", rows=3)
    with pytest.raises(Overloaded):
        host.submit("b")


@on_clock
async def test_request_that_would_be_sent_after_its_deadline_is_shed():
    host = await experienced(0.1)
    host.submit("flying")
    await settle()
    now = asyncio.get_running_loop().time()
    with pytest.raises(Overloaded):
        host.submit("a", deadline=now + 0.09)
    host.submit("a", deadline=now + 0.11)


@on_clock
async def test_requests_are_shed_while_a_host_hangs():
    host = await experienced(0.001, max_queue_seconds=0.2)
    host.submit("flying")
    await settle()
    host.submit("a")
    await advance(0.19)
    host.submit("b")
    await advance(0.02)
    with pytest.raises(Overloaded):
        host.submit("c")


@on_clock
async def test_close_waits_for_what_is_queued_and_in_flight():
    host = Host(max_rows=2, slots=1)
    answers = [host.submit("a", rows=5), host.submit("b")]
    await settle()
    closing = asyncio.create_task(host.batcher.close())
    await settle()
    with pytest.raises(NotReady):
        host.submit("c")
    assert not closing.done()
    await host.finish_all()
    await closing
    assert await answers[0] == ids("a", *range(5))
    assert await answers[1] == ids("b", 0)
    assert all(timer.cancelled() for timer in asyncio.get_running_loop().timers)


class StrictHost(Host):
    """A host that checks what every batch must keep to."""

    def __init__(self, max_rows, **settings):
        super().__init__(max_rows=max_rows, **settings)
        self.max_rows = max_rows
        self.times_sent = {}
        self.may_retry = set()
        self.erred = set()
        self.ended = set()
        self.violations = []

    async def send(self, parts):
        try:
            self.check(parts)
        except AssertionError as violation:
            self.violations.append(violation)
        return await super().send(parts)

    def check(self, parts):
        call = Call(parts)
        assert len(self.open) < self.batcher.slots
        assert 1 <= len(call.ids) <= self.max_rows
        for part in parts:
            assert part.future not in self.ended
            assert part.deadline > asyncio.get_running_loop().time()
            stop = part.first_row + part.rows
            assert part.columns.ids == ids(part.tag, *range(part.first_row, stop))
        for row in call.ids:
            self.times_sent[row] = self.times_sent.get(row, 0) + 1
            if self.times_sent[row] > 1:
                assert self.times_sent[row] == 2
                assert row in self.may_retry
                assert call.ids == [row]

    async def finish(self, index=0):
        call = self.open[index]
        if self.poison.intersection(call.ids) and len(call.ids) > 1:
            self.may_retry.update(call.ids)
        await super().finish(index)

    async def err(self, index):
        call = self.open.pop(index)
        self.erred.update(request for request, _ in call.ids)
        call.outcome.set_exception(NotReady("away"))
        await settle()


number = st.integers(0, 100)
steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("submit"),
            st.integers(1, 11),
            st.sampled_from([0.0, 0.05, 1.0, LATER]),
            st.frozensets(st.integers(0, 10), max_size=2),
        ),
        st.tuples(st.just("submit"), st.just(1), st.just(LATER), st.just(frozenset())),
        st.tuples(st.just("finish"), number),
        st.tuples(st.just("err"), number),
        st.tuples(st.just("cancel"), number),
        st.tuples(st.just("advance"), st.sampled_from([0.001, 0.03, 0.5])),
        st.tuples(st.just("slots"), st.integers(1, 3)),
        st.tuples(st.just("settle")),
    ),
    max_size=40,
)


@given(steps=steps, max_rows=st.integers(1, 5), patience=st.sampled_from([0.2, inf]))
@settings(max_examples=400, deadline=None)
@on_clock
async def test_every_caller_gets_exactly_its_own_rows(steps, max_rows, patience):
    host = StrictHost(max_rows, max_queue_seconds=patience)
    loop = asyncio.get_running_loop()
    rows, answers, deadlines, cancelled = [], [], [], set()
    for step, *arguments in steps:
        host.ended = {answer for answer in answers if answer.done()}
        match step, arguments:
            case "submit", [size, seconds, poison]:
                request = len(answers)
                host.poison.update((request, row) for row in poison if row < size)
                try:
                    answer = host.submit(request, size, loop.time() + seconds)
                except Overloaded:
                    assert not host.batcher.idle
                    continue
                rows.append(size)
                answers.append(answer)
                deadlines.append(loop.time() + seconds)
            case (("finish" | "err"), [index]) if host.open:
                await getattr(host, step)(index % len(host.open))
            case "cancel", [index] if answers:
                if answers[index % len(answers)].cancel():
                    cancelled.add(index % len(answers))
            case "advance", [seconds]:
                await advance(seconds)
            case "slots", [slots]:
                host.batcher.slots = slots
            case "settle", []:
                await settle()

    host.ended = {answer for answer in answers if answer.done()}
    closing = asyncio.create_task(host.batcher.close())
    await settle()
    await host.finish_all()
    await closing
    assert host.violations == []
    assert (host.batcher.rows_queued, host.batcher.in_flight) == (0, 0)
    assert all(timer.cancelled() or timer.when() <= loop.time() for timer in loop.timers)
    for request, answer in enumerate(answers):
        assert answer.done()
        assert answer.cancelled() == (request in cancelled)
        if request in cancelled:
            continue
        poison = [row for row in range(rows[request]) if (request, row) in host.poison]
        match answer.exception():
            case None:
                assert poison == []
                assert answer.result() == ids(request, *range(rows[request]))
            case ModelFailed() as error:
                assert poison == [problem.row for problem in error.details]
            case DeadlineExceeded():
                assert loop.time() >= deadlines[request]
            case NotReady():
                assert request in host.erred
            case unexpected:
                raise unexpected
