"""Who is champion: the gate that a version passes, or not, with its reasons in the registry."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import lake
from lake.overlap import frames_in_common
from lake.potentials import ancestors, card_of, champion, set_state
from schemas.frames import FrameArrays
from schemas.potentials import Decision, GateCheck, PotentialCard
from schemas.settings import GateSettings


def judge(opened: lake.Lake, name: str, version: int, limits: GateSettings) -> PotentialCard:
    """Send a version through the gate, write state and reasons into the registry, and return its card.

    It becomes champion where every check passes; where not, it is a candidate, or stays retired. Errors are compared with the
    champion's on the test frames of both datasets that neither was trained on and whose elements both know.
    """
    card, before = card_of(opened, name, version), champion(opened, name)
    if before is not None and before.version == version:
        return card
    checks = _properties(opened, card, limits)
    against = f"version {before.version}" if before is not None else ""
    if before is not None:
        checks += _comparison(opened, card, before, limits.tolerance)
    decision = Decision(against, tuple(checks), datetime.now(UTC).isoformat(timespec="seconds"))
    passed = all(check.passed for check in checks)
    below = "retired" if card.state == "retired" else "candidate"
    set_state(opened, name, version, "champion" if passed else below, reasons(decision), decision=decision)
    return card_of(opened, name, version)


def reasons(decision: Decision) -> str:
    """Return the decision in a sentence: what failed, or that all passed and what the errors are."""
    failed = [f"{check.name}: {check.detail}" for check in decision.checks if not check.passed]
    if failed:
        return f"{len(failed)} of {len(decision.checks)} checks failed: " + "; ".join(failed)
    errors = [check.detail for check in decision.checks if check.name == "errors"]
    first = "; ".join(errors) if decision.against else "the first champion of its name"
    return f"all {len(decision.checks)} checks passed: {first}"


def _properties(opened: lake.Lake, card: PotentialCard, limits: GateSettings) -> list[GateCheck]:
    import training
    from training.gate import check_properties, structures_of
    from training.structures import frames_of_elements, take

    potential = training.load(card.name, lake=opened, version=card.version)
    dataset = opened.dataset(card.dataset)
    for split in ("test", "validation", "train"):
        arrays = dataset.arrays(split)
        structures = structures_of(take(arrays, frames_of_elements(arrays, card.elements)))
        if structures:
            break
    return list(check_properties(potential, structures, limits))


def _comparison(opened: lake.Lake, card: PotentialCard, before: PotentialCard, tolerance: float) -> list[GateCheck]:
    import training
    from training.gate import compare_errors
    from training.structures import frames_of_elements, take

    lost = sorted(set(before.elements) - set(card.elements))
    checks = [GateCheck("elements", not lost, f"does not know {', '.join(lost)}" if lost else "knows all elements of the champion")]
    new, old = (training.load(each.name, lake=opened, version=each.version) for each in (card, before))
    for dataset in dict.fromkeys((card.dataset, before.dataset)):
        arrays = _unseen(opened, dataset, (card, before))
        both = [symbol for symbol in card.elements if symbol in before.elements]
        arrays = take(arrays, frames_of_elements(arrays, both))
        theories = opened.dataset(dataset).manifest.theories
        first, second = (training.evaluate(each, each.named(arrays, theories), f"test ({dataset})") for each in (new, old))
        checks += compare_errors(first, second, f"version {before.version}", tolerance)
    return checks


def _unseen(opened: lake.Lake, name: str, cards: Sequence[PotentialCard]) -> FrameArrays:
    """Return the test frames of a dataset that no potential, nor one whose weights it began with, was trained or validated on."""
    import numpy as np

    from training.structures import take

    dataset = opened.dataset(name)
    arrays = dataset.arrays("test")
    seen: set[str] = set()
    trained = {each.dataset for card in cards for each in (card, *ancestors(opened, card))} - {name}
    for other in sorted(trained):
        seen |= frames_in_common(dataset, ("test",), opened.dataset(other), ("train", "validation"))
    return take(arrays, np.array([place for place, one in enumerate(arrays.frame_ids) if one not in seen], dtype=np.int64))
