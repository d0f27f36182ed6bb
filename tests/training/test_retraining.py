from __future__ import annotations

from schemas.potentials import PotentialCard
from training.retraining import decide

CARD = PotentialCard("oxides", 3, "hdnnp", "champion", ("O",), 5.0, "set", "", {}, (), {}, {}, {}, (), {}, "", 0.0, 0)


def test_new_frames_train_and_say_how_many() -> None:
    decision = decide(CARD, ["a:0", "a:1"], ["a:0", "a:1", "b:0"])
    assert (decision.train, decision.n_new, decision.n_gone) == (True, 1, 0)
    assert decision.why == "the query selects 3 frames, 1 of them not in dataset 'set' of oxides version 3 (2 frames)"


def test_nothing_new_does_not_train() -> None:
    decision = decide(CARD, ["a:0", "a:1"], ["a:1"])
    assert (decision.train, decision.n_new, decision.n_gone) == (False, 0, 1)
    assert "nothing new to learn" in decision.why


def test_first_training() -> None:
    assert decide(None, [], ["a:0"]).train
    assert not decide(None, [], []).train
