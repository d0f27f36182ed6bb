"""Searches and learning curves: held-out groups are whole, the test takes no part, a killed one goes on, what is known is found."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from made_up_alloys import alloys, labelled
from made_up_readings import CAO, MGO, made_block, made_calculation, made_reading

import lake
import training.trials
from lake.commit import commit_batch, stage
from lake.groups import groups_of
from schemas.datasets import FrameQuery, Split
from schemas.errors import TrainingError
from training.curve import Plan, Point, learning_curve
from training.curve_picture import curve_picture
from training.forecast import PowerLaw, fit_law, forecast_of
from training.job import FrameSplits, empty_arrays
from training.settings import TrainSettings, settings_from_toml, settings_to_toml
from training.structures import take
from training.trials import Outcome, Pool
from training.tuning import EPOCHS, Budget, Search, drawn_candidates, tune

TINY = TrainSettings(
    cutoff=3.6, channels=2, l_max=1, radial_functions=3, hidden=(4,), epochs=2, batch_atoms=24, loggers=(), checkpoint_seconds=0.0,
    warmup_steps=2, learning_rate=0.02,
)  # fmt: skip


@pytest.fixture(scope="module")
def only_train() -> FrameSplits:
    """Return frames whose validation and test sides fail when they are looked at."""

    class Closed(FrameSplits):
        def arrays(self, split: str):  # type: ignore[no-untyped-def]
            assert split == "train", split
            return self.train

    return Closed(labelled(alloys(24, 1)), empty_arrays(), empty_arrays(), "alloys", ("EMT",))


GROUPS = [f"run {number // 2}" for number in range(24)]


def test_groups_are_never_parted_and_folds_share_nothing(only_train: FrameSplits) -> None:
    pool = Pool(only_train.train, tuple(GROUPS))
    folds = pool.folds(5, "salt")
    assert sorted(len(fold) for fold in folds) == [4, 4, 4, 6, 6]
    for fold in folds:
        assert not {GROUPS[frame] for frame in fold} & {GROUPS[frame] for frame in pool.rest(fold)}
    assert len({int(frame) for fold in folds for frame in fold}) == 24
    grown = Pool(only_train.train, tuple(f"run {number // 2 + (number >= 20) * 50}" for number in range(24)))
    kept = [group[0] // 2 for group in pool.in_order("salt") if group[0] < 20]
    assert [group[0] // 2 for group in grown.in_order("salt") if group[0] < 20] == kept
    with pytest.raises(TrainingError, match="of 1 groups"):
        Pool(only_train.train, ("one",) * 24).folds(5, "salt")
    # The only frames with an element are always trained on.
    copper = [frame for frame in range(24) if 13 not in only_train.train.numbers[slice(*only_train.train.offsets[frame : frame + 2])]]
    one = next(frame for frame in range(24) if frame not in copper)
    few = Pool(take(only_train.train, np.array([*copper, one])), tuple(map(str, range(len(copper) + 1))))
    assert all(len(copper) not in fold for fold in few.folds(3, "salt"))


def test_groups_of_a_dataset_hang_together_by_structures(tmp_path: Path) -> None:
    opened = lake.open(str(tmp_path / "lake")).create()
    block = made_block(MGO, 3, 1)
    made = [made_calculation(MGO, 3, 1, block=block), made_calculation(CAO, seed=2), made_calculation(MGO, seed=3)]
    again = made_calculation(MGO, 3, 9, block=dataclasses.replace(block, energy=block.energy + 1e-4))
    commit_batch(opened, [stage(opened, [made_reading("one.tar", *made, again)], "1" * 64, 0)], "1" * 64)
    dataset = opened.publish("all", FrameQuery(), Split(test=0.0, validation=0.0))
    groups = dict(zip(dataset.frame_ids("train"), groups_of(dataset, "train"), strict=True))
    calculation = dict(dataset.index.select("frame_id", "calculation_id").iter_rows())
    assert len(set(calculation.values())) == 4
    assert len(set(groups.values())) == 3
    shared = {group for frame, group in groups.items() if calculation[frame] in (made[0].calculation_id, again.calculation_id)}
    assert len(shared) == 1


def test_rounds_halve_and_share_the_budget() -> None:
    assert Budget(90.0).rounds() == [9, 3]
    assert [limit["max_seconds"] for limit in Budget(90.0).limits()] == [5.0, 15.0]
    assert Budget(30.0, candidates=1).rounds() == [1]
    assert [limit["epochs"] for limit in Budget(90, EPOCHS, candidates=27).limits()] == [10, 30, 90]
    candidates = drawn_candidates(TINY, Search(channels=(2, 4)), 7)
    assert candidates == drawn_candidates(TINY, Search(channels=(2, 4)), 7)
    assert candidates[0] == TINY
    assert len({repr(each) for each in candidates}) == 7
    assert candidates != drawn_candidates(dataclasses.replace(TINY, seed=1), Search(channels=(2, 4)), 7)


def test_a_killed_search_goes_on_and_gives_the_same(only_train: FrameSplits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    budget, search = Budget(8, EPOCHS, candidates=3, keep=3), Search(cutoff=(3.6,), channels=(2,), width=(2, 4), weight_decay=(0.01,))
    # Three candidates cannot be drawn of two, and a cutoff that sees no atom must lose.
    search = dataclasses.replace(search, cutoff=(2.0, 3.6))
    told: list[tuple[str, int, int]] = []
    whole = tune(only_train, TINY, budget, search, groups=GROUPS, work=tmp_path / "whole", progress=lambda *at: told.append(at))
    assert told[-1] == ("round 1 of 1", 3000, 3000)
    assert [trial.outcome.loss for trial in whole.trials] == sorted(trial.outcome.loss for trial in whole.trials)
    assert whole.settings.cutoff == 3.6
    assert whole.settings.epochs == TINY.epochs
    run, done = training.trials.run_training_in, []

    def killed(*arguments):  # type: ignore[no-untyped-def]
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(run(*arguments))

    monkeypatch.setattr(training.trials, "run_training_in", killed)
    with pytest.raises(KeyboardInterrupt):
        tune(only_train, TINY, budget, search, groups=GROUPS, work=tmp_path / "killed")
    monkeypatch.setattr(training.trials, "run_training_in", lambda *arguments: done.append(run(*arguments)))
    again = tune(only_train, TINY, budget, search, groups=GROUPS, work=tmp_path / "killed")
    assert len(done) == 3

    def without_time(found):  # type: ignore[no-untyped-def]
        return [dataclasses.replace(trial, outcome=dataclasses.replace(trial.outcome, seconds=0.0)) for trial in found.trials]

    assert without_time(again) == without_time(whole)
    assert again.settings == whole.settings


def test_settings_found_are_read_back_from_toml() -> None:
    odd = dataclasses.replace(TINY, weight_decay=1e-5, frame_weights=("2 where element_system = 'Ca-O'",), four_body=True)
    text = settings_to_toml(odd)
    assert settings_from_toml(text) == odd
    assert "# Decoupled weight decay of the hidden layers.\nweight_decay = 1e-05" in text


def made_errors(law: PowerLaw, noise: float, seed: int) -> list[list[tuple[int, float]]]:
    random = np.random.default_rng(seed)
    return [[(n, float(law.at(n)) * float(np.exp(noise * random.normal()))) for _ in range(3)] for n in (25, 50, 100, 200, 400)]


def test_a_known_power_law_is_found_and_its_target_lies_in_the_band() -> None:
    law, inside, n_seeds = PowerLaw(0.5, 0.4, 0.0), 0, 20
    for seed in range(n_seeds):
        fitted = fit_law(made_errors(law, 0.05, seed))
        assert fitted.law.b == pytest.approx(0.4, abs=0.08)
        found = forecast_of(fitted, "forces", 0.03)
        inside += (found.low or np.inf) <= law.frames_for(0.03) <= (found.high or np.inf)
    assert inside >= 0.7 * n_seeds
    assert law.frames_for(0.03) == pytest.approx((0.5 / 0.03) ** 2.5)


def test_a_plateau_is_out_of_reach_and_doubts_are_told() -> None:
    plateau = forecast_of(fit_law(made_errors(PowerLaw(0.5, 0.9, 0.05), 0.02, 1)), "forces", 0.03)
    assert "out of reach" in plateau.says
    assert plateau.never > 0.9
    reached = forecast_of(fit_law(made_errors(PowerLaw(0.5, 0.4, 0.0), 0.02, 1)), "forces", 0.07)
    assert reached.says.startswith("70.0 meV/Å is reached with 200 training frames")
    far = forecast_of(fit_law(made_errors(PowerLaw(0.5, 0.4, 0.0), 0.02, 1)), "energy", 0.005)
    assert any("times what was trained on" in doubt for doubt in far.doubts) or "out of reach" in far.says
    flat = forecast_of(fit_law(made_errors(PowerLaw(0.5, 0.0, 0.0), 0.05, 1)), "energy", 0.2)
    assert any("do not fall" in doubt for doubt in flat.doubts) or "out of reach" in flat.says
    alone = forecast_of(fit_law([[level[0]] for level in made_errors(PowerLaw(0.5, 0.4, 0.0), 0.02, 1)]), "forces", 0.03)
    assert "there is one training at a number of frames, so that chance cannot be told" in alone.doubts


def test_a_curve_trains_on_nested_sets_of_groups(only_train: FrameSplits, tmp_path: Path) -> None:
    settings = dataclasses.replace(TINY, epochs=1)
    found = learning_curve(only_train, settings, Plan(points=3, repeats=2), target=0.01, groups=GROUPS, work=tmp_path)
    assert [point.n_frames for point in found.points] == sorted(point.n_frames for point in found.points)
    assert {point.n_frames for point in found.points if point.repeat == 0} == {18 - 18 // 2 - 4, 10, 18} or len(found.points) == 6
    steps = [point.outcome.steps for point in found.points]
    assert max(steps) <= 1.5 * min(steps)
    assert all(isinstance(point, Point) and isinstance(point.outcome, Outcome) for point in found.points)
    assert curve_picture(found, "alloys").startswith(b"\x89PNG")
    few = FrameSplits(take(only_train.train, np.arange(6)), empty_arrays(), empty_arrays())
    with pytest.raises(TrainingError, match="fewer than three numbers of frames"):
        learning_curve(few, settings, groups=["a", "a", "b", "b", "c", "c"], work=tmp_path)
