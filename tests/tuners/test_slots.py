"""The broker of slots: workers come and go while two threads take and give."""

from __future__ import annotations

import threading

import pytest

from tuners.slots import Slots

pytestmark = pytest.mark.unit


def test_workers_come_and_go_and_what_is_given_back_after_its_worker_went_stays_away() -> None:
    slots = Slots()
    assert (slots.count, slots.idle, slots.take()) == (0, 0, None)
    slots.add(7)
    slots.add(8)
    assert slots.take() == 7
    slots.drop(7)  # while somebody uses it
    slots.drop(7)
    slots.give(7)
    assert (slots.count, slots.idle) == (1, 1)
    slots.drop(8)  # while nobody does
    assert (slots.count, slots.take()) == (0, None)


def test_the_slot_that_has_been_free_for_longest_is_taken_so_that_none_rests_while_others_work() -> None:
    slots = Slots(2)
    first = slots.take()
    assert first == 0
    slots.give(first)
    assert slots.take() == 1


def test_only_a_slot_that_has_rested_is_taken_to_be_ended() -> None:
    slots = Slots(2)
    assert slots.take_rested(60.0) is None
    assert slots.take_rested(0.0) == 0
    assert (slots.count, slots.idle) == (2, 1)  # it is there until it is dropped


def test_no_slot_is_given_to_two_threads() -> None:
    slots, out, lock = Slots(3), set[int](), threading.Lock()
    taken, twice = list[int](), list[int]()

    def work() -> None:
        for _ in range(200):
            slot = slots.take()
            if slot is None:
                continue
            with lock:
                (twice if slot in out else taken).append(slot)
                out.add(slot)
            with lock:
                out.discard(slot)
            slots.give(slot)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken
    assert not twice
    assert slots.idle == 3
