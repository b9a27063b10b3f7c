"""Orders that sound the same, and pedal vocabularies, against slow and obvious definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxtrain.contract import (
    PAD,
    Chain,
    ContractError,
    Param,
    Pedal,
    PedalEntry,
    UsageError,
    Vocabulary,
    VocabularyError,
    arrow,
    class_size,
    normal_form,
    unknown_name,
)

LETTERS = "abcde"
words = st.lists(st.sampled_from(LETTERS), max_size=6).map(tuple)
relations = st.sets(
    st.sampled_from([frozenset(pair) for pair in itertools.combinations(LETTERS, 2)])
).map(frozenset)


def all_orders_that_sound_the_same(word, commutes):
    """By definition: whatever swaps of commuting neighbours can reach."""
    seen, new = {tuple(word)}, [tuple(word)]
    while new:
        here = new.pop()
        for i in range(len(here) - 1):
            if frozenset(here[i : i + 2]) in commutes and here[i] != here[i + 1]:
                there = (*here[:i], here[i + 1], here[i], *here[i + 2 :])
                if there not in seen:
                    seen.add(there)
                    new.append(there)
    return seen


@given(words, relations)
def test_normal_form_is_the_least_of_its_class(word, commutes):
    assert normal_form(word, commutes) == min(all_orders_that_sound_the_same(word, commutes))


@pytest.mark.parametrize(
    "commutes", [{"ab"}, {"ab", "bc"}, {"ab", "cd"}, {"ab", "bc", "ac"}, {"ad", "bd", "cd", "ab"}]
)
def test_every_word_up_to_five_letters_against_brute_force(commutes):
    """Idempotent, the same after every allowed swap, and equal exactly for equivalent words."""
    pairs = frozenset(frozenset(pair) for pair in commutes)
    letters = "".join(sorted(set("".join(commutes))))
    classes = {}
    for length in range(6):
        for word in itertools.product(letters, repeat=length):
            form = normal_form(word, pairs)
            assert normal_form(form, pairs) == form
            same = all_orders_that_sound_the_same(word, pairs)
            assert form in same
            assert classes.setdefault(form, same) == same  # one form: one class
            for other in same:  # one class: one form
                assert normal_form(other, pairs) == form


@given(words, relations)
def test_a_class_has_one_normal_form(word, commutes):
    forms = {normal_form(o, commutes) for o in all_orders_that_sound_the_same(word, commutes)}
    assert len(forms) == 1
    assert normal_form(forms.pop(), commutes) == normal_form(word, commutes)


@given(words, words, relations)
def test_other_classes_have_other_normal_forms(word, other, commutes):
    same = tuple(other) in all_orders_that_sound_the_same(word, commutes)
    assert (normal_form(word, commutes) == normal_form(other, commutes)) == same


@given(words)
def test_nothing_commutes_means_nothing_moves(word):
    assert normal_form(word, frozenset()) == tuple(word)


@given(words)
def test_everything_commutes_means_sorted(word):
    everything = frozenset(frozenset(pair) for pair in itertools.combinations(LETTERS, 2))
    assert normal_form(word, everything) == tuple(sorted(word))


def test_pedals_on_both_sides_of_a_wall_stay_there():
    delay_reverb = frozenset({frozenset({"delay", "reverb"})})
    assert normal_form(("reverb", "delay"), delay_reverb) == ("delay", "reverb")
    word = ("reverb", "fuzz", "delay")
    assert normal_form(word, delay_reverb) == word


@settings(max_examples=25, deadline=None)
@given(st.sets(st.sampled_from(LETTERS)), relations)
def test_classes_are_counted(names, commutes):
    orders = set(itertools.permutations(sorted(names)))
    classes = {frozenset(all_orders_that_sound_the_same(order, commutes)) for order in orders}
    assert len({normal_form(order, commutes) for order in orders}) == len(classes)
    assert sum(map(len, classes)) == len(orders)


# Vocabulary

VOCABULARY = Vocabulary(
    (
        PedalEntry("fuzz", "drive", (Param("gain_db", "dB", 0.0, 40.0, "linear", ""),)),
        PedalEntry(
            "echo",
            "time",
            (
                Param("delay_ms", "ms", 1.0, 900.0, "log", ""),
                Param("mix", "", 0.0, 1.0, "linear", ""),
            ),
        ),
        PedalEntry("wah", "filter", ()),
    )
)


@given(st.lists(st.sampled_from(VOCABULARY.names), max_size=5), st.integers(0, 3))
def test_orders_come_back(names, spare):
    order = VOCABULARY.encode_order(names, len(names) + spare)
    assert order.dtype == np.uint8
    assert (order[len(names) :] == PAD).all()
    assert VOCABULARY.decode_order(order) == tuple(names)


@pytest.mark.parametrize("order", [[PAD, 0], [0, PAD, 1], [3], [0, 254]])
def test_orders_that_no_chain_has_are_refused(order):
    with pytest.raises(VocabularyError, match="does not fit a vocabulary of 3"):
        VOCABULARY.decode_order(np.array(order, np.uint8))


def test_ids_below_zero_are_no_pedals():
    """A model of somebody's own may pad with -1, which was read as the last pedal."""
    with pytest.raises(VocabularyError, match=r"order \[0, -1, -1\] does not fit"):
        VOCABULARY.decode_order(np.array([0, -1, -1]))


def test_a_chain_that_is_too_long_is_refused():
    with pytest.raises(ContractError, match="fuzz → fuzz is longer than 1"):
        VOCABULARY.encode_order(["fuzz", "fuzz"], 1)


def test_an_unknown_pedal_names_the_nearest():
    with pytest.raises(UsageError, match="unknown pedal 'fuz': did you mean 'fuzz'"):
        VOCABULARY.index("fuz")


def test_what_is_no_name_is_an_unknown_one():
    """`TrainConfig(precision=32)` was a traceback of difflib's."""
    assert unknown_name("precision", 32, ("auto", "32", "bf16")) == (  # type: ignore[arg-type]
        "unknown precision 32: did you mean '32'? known: auto, 32, bf16"
    )


def test_parameters_stand_in_the_order_of_the_vocabulary():
    chain = Chain((Pedal("echo", {"mix": 0.5, "delay_ms": 250.0}), Pedal("wah", {})))
    values = VOCABULARY.encode_params(chain, 3)
    assert values.dtype == np.float32
    assert VOCABULARY.max_params == 2
    nan = np.nan
    np.testing.assert_array_equal(values, [[250.0, 0.5], [nan, nan], [nan, nan]])


def test_vocabularies_that_cannot_be_encoded_are_refused():
    wah = PedalEntry("wah", "filter", ())
    with pytest.raises(ContractError, match="stands twice"):
        Vocabulary((wah, wah))
    many = tuple(PedalEntry(f"pedal{i}", "drive", ()) for i in range(256))
    with pytest.raises(ContractError, match="256 pedals in a vocabulary; at most 255"):
        Vocabulary(many)
    full = Vocabulary(many[:255])
    assert full.decode_order(full.encode_order(["pedal254"], 2)) == ("pedal254",)


@pytest.mark.parametrize(
    ("low", "high", "scale"),
    [(1.0, 0.5, "linear"), (math.nan, 1.0, "linear"), (0.0, 1.0, "log"), (0.0, 1.0, "cubic"),
     (0.0, 256.0, "choice")],
)  # fmt: skip
def test_a_knob_that_nobody_can_turn_is_refused(low, high, scale):
    with pytest.raises(ContractError, match="parameter 'tone'"):
        Param("tone", "", low, high, scale, "")


def test_the_most_choices_and_parameters_are_no_more():
    most = Param("wave", "", 0.0, 255.0, "choice", "")
    assert len(PedalEntry("synth", "pitch", (most,) * 1000).params) == 1000
    with pytest.raises(ContractError, match="a pedal of 1001 parameters, expected 1000 at most"):
        PedalEntry("synth", "pitch", (most,) * 1001)


def test_a_setting_that_is_not_there_is_named():
    with pytest.raises(ContractError, match="pedal 'echo': no setting 'mix'"):
        VOCABULARY.encode_params(Chain((Pedal("echo", {"delay_ms": 1.0}),)), 1)


def test_chains_are_written_for_people():
    assert str(Chain((Pedal("fuzz", {}), Pedal("echo", {})))) == "fuzz → echo"
    assert arrow([]) == "(no pedals)"
    assert Vocabulary(()).max_params == 0


def test_sixteen_pedals_that_all_commute_are_the_most_whose_orders_are_counted():
    names = [f"p{i}" for i in range(17)]
    commutes = frozenset(frozenset(pair) for pair in itertools.combinations(names, 2))
    assert class_size(names[:16], commutes) == math.factorial(16)
    with pytest.raises(ContractError, match="17 pedals has too many orders"):
        class_size(names, commutes)
