"""Studies that contradict themselves are refused, whoever wrote them."""

from __future__ import annotations

import dataclasses

import pytest

from fixtures.studies import small_study
from fxtrain.contract import ContractError
from fxtrain.listen.study import DRY, REFERENCE, Item, Study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return small_study(tmp_path_factory.mktemp("study"), "abx", n_items=2, catches=1)


def test_a_kind_of_test_that_nobody_knows_is_refused(study: Study) -> None:
    with pytest.raises(ContractError, match="kind of test 'abz': did you mean 'abx'"):
        dataclasses.replace(study, kind="abz")


@pytest.mark.parametrize("part", ["items", "training"])
def test_every_sound_of_every_item_is_there(study: Study, part: str) -> None:
    *others, last = getattr(study, part) or study.items
    lost = dataclasses.replace(last, conditions={**last.conditions, DRY: "0" * 16})
    with pytest.raises(ContractError, match="no sound '0000000000000000'"):
        dataclasses.replace(study, **{part: (*others, lost)})


def test_a_sound_lies_where_its_id_says(study: Study) -> None:
    one, other = list(study.sounds)[:2]
    with pytest.raises(ContractError, match=f"sound '{one}' lies in 'sounds/{other}.wav'"):
        dataclasses.replace(study, sounds=study.sounds | {one: study.sounds[other]})


@pytest.mark.parametrize("conditions", [{}, {DRY: "a", "b": "b"}, {REFERENCE: "a"}])
def test_an_item_holds_something_against_the_reference(conditions: dict[str, str]) -> None:
    with pytest.raises(ContractError, match="expected 'reference' and another"):
        Item("one", "dry", conditions, {})
