"""The shared counters: each worker writes its own block, readers sum, and nothing is taken for another's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.histogram import BUCKETS
from headgate.wire.plan import Applied
from headgate.wire.telemetry import DROP_REASONS, IN_FLIGHT_AGES_S
from router.core import counters as c


def file_of(workers: int) -> memoryview:
    return memoryview(bytearray(c.layout(workers)))


def test_a_file_of_zero_bytes_says_that_no_worker_ever_began():
    assert [worker.state for worker in c.read_workers(file_of(3))] == [c.ABSENT] * 3


def test_counts_of_all_workers_are_summed_per_identity():
    buffer = file_of(3)
    for index in range(3):
        block = c.Block(buffer, index)
        start, _ = block.claim(5, "v8")
        block.cells[start + c.PICKED + c.REQUESTS] += 10**index
        block.cells[start + c.PICKED + c.LATENCY + BUCKETS - 1] += 1
        block.cells[start + c.HALF + c.STATUS_2XX] += 2
        block.cells[start + c.BYTES_OUT] += 7
    found = c.read_version(buffer, 5, version="cand", identity="v8", attempt=2)
    assert (found.version, found.identity, found.attempt) == ("cand", "v8", 2)
    assert found.picked.requests == 111
    assert found.picked.latency[-1] == 3
    assert len(found.picked.latency) == BUCKETS
    assert len(found.in_flight_ages) == len(IN_FLIGHT_AGES_S)
    assert (found.half.status_2xx, found.bytes_out, found.selected.requests) == (6, 21, 0)
    assert c.read_failures(buffer, 5, "v8") == (111, 0)


def test_the_guard_judges_what_the_split_and_the_split_among_the_matching_chose():
    buffer = file_of(2)
    for index in range(2):
        block = c.Block(buffer, index)
        start, _ = block.claim(0, "v8")
        for group, requests in ((c.PICKED, 3), (c.MATCHED, 20), (c.SELECTED, 100), (c.HALF, 1000)):
            block.cells[start + group + c.REQUESTS] = requests
            block.cells[start + group + c.FAILED] = requests - 1
    assert c.read_failures(buffer, 0, "v8") == (46, 42)


def test_every_cell_of_a_column_is_read_back_as_the_count_it_was_written_for():
    buffer = file_of(1)
    block = c.Block(buffer, 0)
    start, _ = block.claim(0, "v")
    cells = range(1, c.drop_cell(0, 0))
    for offset in cells:
        block.cells[start + offset] = offset
    found = c.read_version(buffer, 0, version="v", identity="v")
    groups = (found.picked, found.matched, found.selected, found.half)
    names = [name for name in found.picked.__struct_fields__ if name != "latency"]
    seen = [n for group in groups for n in (*(getattr(group, name) for name in names), *group.latency)]
    seen += [found.other, found.saved_by_stable, found.retries, found.ejections]
    seen += [found.bytes_in, found.bytes_out, found.in_flight, *found.in_flight_ages]
    times = [group + c.LATENCY_US for group in (c.PICKED, c.MATCHED, c.SELECTED, c.HALF)]
    assert seen == [cell for cell in cells if cell not in times]
    assert c.read_seconds(buffer, 0, "v") == (c.PICKED + c.LATENCY_US) / 1e6


def test_causes_are_summed_over_workers_and_outlive_them():
    buffer = file_of(2)
    for index in range(2):
        block = c.Block(buffer, index)
        for number, cause in enumerate(c.CAUSES):
            block.cells[c.cause_cell(cause)] += number
        block.begin(4711, 0)
    assert c.read_causes(buffer) == {cause: 2 * number for number, cause in enumerate(c.CAUSES)}
    assert c.cause_cell("one that has no name here") == c.cause_cell("other")


def test_a_column_given_to_another_identity_is_empty_and_says_so():
    buffer = file_of(2)
    old, new = c.Block(buffer, 0), c.Block(buffer, 1)
    for block in (old, new):
        start, was_taken = block.claim(4, "v7")
        assert not was_taken
        block.cells[start + c.PICKED + c.REQUESTS] = 9
        block.cells[start + c.drop_cell(4, c.QUEUE_FULL)] = 3
    start, was_taken = new.claim(4, "v8")
    assert was_taken
    assert c.read_version(buffer, 4, version="a", identity="v8").picked.requests == 0
    assert c.read_version(buffer, 4, version="a", identity="v7").picked.requests == 9, (
        "the other block keeps v7"
    )
    assert new.claim(4, "v8") == (start, False)


def test_drops_are_kept_per_pair_and_forgotten_with_either_column():
    buffer = file_of(1)
    block = c.Block(buffer, 0)
    live, _ = block.claim(0, "v7")
    block.claim(1, "v8")
    block.claim(2, "v9")
    block.cells[live + c.drop_cell(1, c.QUEUE_FULL)] += 2
    block.cells[live + c.drop_cell(1, c.CLIENT_CANCELLED)] += 1
    block.cells[live + c.drop_cell(2, c.BODY_TOO_LARGE)] += 5
    assert c.read_dropped(buffer, live=(0, "v7"), shadow=(1, "v8")) == {
        "queue_full": 2,
        "client_cancelled": 1,
    }
    assert c.read_dropped(buffer, live=(0, "v7"), shadow=(2, "v9")) == {"body_too_large": 5}
    assert c.read_dropped(buffer, live=(0, "v7"), shadow=(1, "other")) == {}
    block.claim(1, "v10")
    assert c.read_dropped(buffer, live=(0, "v7"), shadow=(1, "v10")) == {}
    assert c.read_dropped(buffer, live=(0, "v7"), shadow=(2, "v9")) == {"body_too_large": 5}


def test_the_reasons_of_workers_are_reasons_of_the_wire():
    assert set(c.WORKER_DROP_REASONS) <= set(DROP_REASONS)


def test_a_restarted_worker_keeps_the_counts_and_drops_what_was_in_flight():
    buffer = file_of(1)
    block = c.Block(buffer, 0)
    block.begin(11, 1_000)
    start, _ = block.claim(0, "v7")
    block.cells[start + c.PICKED + c.REQUESTS] = 5
    block.cells[start + c.IN_FLIGHT] = 3
    block.cells[start + c.IN_FLIGHT_AGES + 8] = 1
    block.cells[c.CONNECTIONS] = 4
    block.write_applied(Applied(1, 2, 3))
    c.Block(buffer, 0).begin(12, 2_000)
    found = c.read_version(buffer, 0, version="v7", identity="v7")
    assert (found.picked.requests, found.in_flight, sum(found.in_flight_ages)) == (5, 0, 0)
    (worker,) = c.read_workers(buffer)
    assert (worker.pid, worker.started_at_ms, worker.connections) == (12, 2_000, 0)
    assert worker.applied == Applied(0, 0, 0)


def test_what_a_worker_runs_is_never_read_half_written():
    buffer = file_of(1)
    block = c.Block(buffer, 0)
    block.begin(1, 1)
    block.write_applied(Applied(3, 4, 5))
    assert c.read_workers(buffer)[0].applied == Applied(3, 4, 5)
    block.cells[c.SEQUENCE] += 1  # died while writing
    block.cells[c.EPOCH] = 9
    assert c.read_workers(buffer)[0].applied == Applied(0, 0, 0)
    c.Block(buffer, 0).write_applied(Applied(9, 1, 1))
    assert c.read_workers(buffer)[0].applied == Applied(9, 1, 1)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, c.COLUMNS - 1)), max_size=40))
def test_no_block_or_column_overlaps_another(writes: list[tuple[int, int]]):
    buffer = file_of(4)
    wanted: dict[int, int] = {}
    for index, column in writes:
        block = c.Block(buffer, index)
        start, _ = block.claim(column, f"id-{column}")
        block.cells[start + c.drop_cell(0, 0) - 1] += 1  # the last age
        block.cells[start + c.PICKED] += 1
        wanted[column] = wanted.get(column, 0) + 1
    for column in range(c.COLUMNS):
        found = c.read_version(buffer, column, version="v", identity=f"id-{column}")
        assert found.picked.requests == wanted.get(column, 0)
        assert found.in_flight_ages[-1] == wanted.get(column, 0)


def test_a_block_outside_of_the_file_and_a_column_outside_of_the_block_are_refused():
    with pytest.raises(ValueError, match="block 2"):
        c.Block(file_of(2), 2)
    with pytest.raises(ValueError, match="column 32 of v"):
        c.Block(file_of(1), 0).claim(c.COLUMNS, "v")
    with pytest.raises(ValueError, match="65 workers"):
        c.layout(65)
