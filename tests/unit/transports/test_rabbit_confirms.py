"""One future stands for a block of messages; each still has an answer of its own."""

from __future__ import annotations

import asyncio

from hub.transports.rabbit.confirms import Confirmation, Confirms, Countdown


def block(count: int) -> tuple[list[Confirmation], asyncio.Future[None]]:
    end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    countdown = Countdown(end, count)
    return [Confirmation(countdown) for _ in range(count)], end


async def test_a_block_ends_with_its_last_answer() -> None:
    (first, second), end = block(2)
    refused = RuntimeError("the disk is full")
    waiting = asyncio.create_task(Confirms([first, second], [end]).wait())

    first.set_result("taken")
    before = (first.done(), second.done(), end.done())
    second.set_exception(refused)
    await waiting

    assert before == (True, False, False)
    assert (first.result(), first.exception()) == ("taken", None)
    assert second.exception() is refused


async def test_the_end_of_a_channel_answers_only_what_had_no_answer() -> None:
    (answered, open_), end = block(2)
    answered.set_result("taken")

    end.set_exception(ConnectionError("it is gone"))

    assert (answered.done(), answered.exception(), answered.result()) == (True, None, "taken")
    assert open_.done()
    assert isinstance(open_.exception(), ConnectionError)


async def test_a_channel_that_is_given_up_cancels_only_what_had_no_answer() -> None:
    (answered, open_), end = block(2)
    answered.set_result("taken")

    end.cancel()

    assert (answered.cancelled(), open_.cancelled()) == (False, True)


async def test_an_answer_after_the_end_changes_nothing_for_others() -> None:
    (late,), end = block(1)
    end.cancel()

    late.set_result("taken after all")

    assert (late.cancelled(), late.result(), end.cancelled()) == (False, "taken after all", True)
