"""Pedals by how far the sound moves without them, and how many of them were named."""

from __future__ import annotations

import numpy as np
import pytest

from fxtrain.faint import EDGES_DB, faint, faint_lines, span
from fxtrain.intervals import wilson

TRUTH = [("fuzz", "delay"), ("fuzz",), ("delay",), ()]
SAID = [("fuzz",), ("fuzz",), ("delay", "fuzz"), ("delay",)]
WITHOUT_DB = [(9.0, 0.2), (3.0,), (0.5,), ()]
ALONE = np.arange(4)


def test_every_pedal_counts_in_the_step_of_its_own_distance() -> None:
    rows = {row.low_db: row for row in faint(TRUTH, SAID, WITHOUT_DB, ALONE)}
    assert list(rows) == [0.0, 0.5, 2.0, 4.0]  # none lies between 1 and 2 dB
    assert [rows[db].high_db for db in rows] == [0.5, 1.0, 4.0, None]
    found = {db: (row.found.value, row.found.n) for db, row in rows.items()}
    assert found == {0.0: (0.0, 1), 0.5: (1.0, 1), 2.0: (1.0, 1), 4.0: (1.0, 1)}
    assert rows[0.0].found == wilson(0, 1)


def test_null_is_how_often_the_pedal_is_named_where_it_is_not() -> None:
    rows = {row.low_db: row for row in faint(TRUTH, SAID, WITHOUT_DB, ALONE)}
    assert rows[0.0].null == rows[0.5].null == 0.5  # delay: on one of two clips that lack it
    assert rows[2.0].null == rows[4.0].null == 0.5  # fuzz: the same


def test_a_clip_counts_in_the_step_of_its_faintest_pedal() -> None:
    rows = {row.low_db: row for row in faint(TRUTH, SAID, WITHOUT_DB, ALONE)}
    sets = {db: (row.sets.value, row.sets.n) for db, row in rows.items() if row.sets.n}
    assert sets == {0.0: (0.0, 1), 0.5: (0.0, 1), 2.0: (1.0, 1)}
    assert np.isnan(rows[4.0].sets.value)  # its one pedal stands beside a fainter one
    assert sum(row.sets.n for row in rows.values()) == 3  # a clip without pedals has no faintest


def test_a_right_set_in_another_order_is_a_right_set() -> None:
    (row,) = faint([("fuzz", "delay")], [("delay", "fuzz")], [(3.0, 3.0)], np.zeros(1, int))
    assert (row.sets.value, row.sets.n) == (1.0, 1)


def test_pedals_of_one_group_are_no_independent_witnesses() -> None:
    truth, said = [("fuzz",)] * 40, [("fuzz",), ()] * 20
    moved = [(3.0,)] * 40
    (alone,) = faint(truth, said, moved, np.arange(40))
    (pairs,) = faint(truth, said, moved, np.tile([0, 1], 20))  # one group right, one wrong
    assert alone.found == wilson(20, 40)
    assert pairs.found.value == 0.5
    assert pairs.found.low < alone.found.low
    assert pairs.found.high > alone.found.high


def test_a_pedal_on_every_clip_has_no_null() -> None:
    (row,) = faint([("fuzz",)], [("fuzz",)], [(3.0,)], np.zeros(1, int))
    assert np.isnan(row.null)
    assert "nan" not in "\n".join(faint_lines([row]))


def test_distances_have_to_be_the_pedals_own() -> None:
    with pytest.raises(ValueError, match="shorter"):
        faint([("fuzz", "delay")], [()], [(3.0,)], np.zeros(1, int))


def test_lines_say_how_many_were_found() -> None:
    lines = list(faint_lines(faint(TRUTH, SAID, WITHOUT_DB, ALONE)))
    row = next(line for line in lines if line.startswith("0.5 to 1"))
    assert row.split()[3:6] == ["1", "1.000", "0.207–1.000"]
    assert any(line.startswith("4 or more") for line in lines)
    assert list(faint_lines(faint([()], [()], [()], np.zeros(1, int)))) == []
    assert EDGES_DB[1] == 0.5
    assert span(faint(TRUTH, SAID, WITHOUT_DB, ALONE)[0]) == "0 to 0.5"
