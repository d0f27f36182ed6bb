"""What the scheduled upkeep does to a lake, and when it is due."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from made_up_readings import CAO, MGO, made_calculation, made_reading

import lake
from lake.checkpoints import checkpoint
from lake.commit import commit_batch, stage
from lake.tables import live_files
from pipelines import artifacts
from pipelines.upkeep import compact_tables, sweep_lake
from schemas.datasets import FrameQuery
from schemas.errors import QueryError
from schemas.settings import Settings, StoreSettings, UpkeepSettings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return the settings of a lake in a folder that took two batches."""
    settings = Settings(home=tmp_path, store=StoreSettings(lake_url=str(tmp_path / "lake")))
    opened = lake.open(settings=settings).create()
    for seed in (1, 2):
        readings = [made_reading(f"{seed}.tar", made_calculation(MGO, 3, seed), made_calculation(CAO, 3, seed))]
        commit_batch(opened, [stage(opened, readings, f"{seed:064x}", 0)], f"{seed:064x}")
    return settings


def test_files_are_joined_and_logs_checkpointed(settings: Settings) -> None:
    opened = lake.open(settings=settings)
    before = opened.frames().sort("frame_id").collect()
    said: list[tuple[str, int, int]] = []
    kept = compact_tables(settings, lambda *what: said.append(what))
    frames = next(each for each in kept if each.compaction.table == "frames")
    assert (frames.compaction.n_files_before, frames.compaction.n_files_after) == (4, 2)
    assert ("joining files of frames", 2, 2) in said
    assert live_files(opened.table("frames")).num_rows == 2
    assert opened.frames().sort("frame_id").collect().equals(before)
    rows = artifacts.compaction_table(kept)
    assert [row["table"] for row in rows] == ["frames", "calculations", "sources", "rejections", "potentials"]
    assert artifacts.compaction_summary(kept).endswith("checkpoints besides")
    assert not any(checkpoint(opened, name) for name in opened.versions()), "every log has a checkpoint at its newest version"
    again = compact_tables(settings, lambda *_: None)
    assert artifacts.compaction_summary(again) == "0 small files joined into 0; 0 checkpoints besides"


def test_a_sweep_spares_datasets_and_what_is_young(settings: Settings, tmp_path: Path) -> None:
    opened = lake.open(settings=settings)
    opened.publish("d", FrameQuery(elements=("Mg", "O")))
    compact_tables(settings, lambda *_: None)
    swept = sweep_lake(settings, lambda *_: None)
    assert artifacts.sweep_summary(swept) == "0 files or uploads removed, 0 bytes"
    assert {row["what"]: row["pinned versions"] for row in artifacts.sweep_table(swept)}["frames"] == 1
    opened.dataset("d").verify()
    with pytest.raises(QueryError, match="could take files from writers and readers that run now"):
        sweep_lake(replace(settings, upkeep=UpkeepSettings(retention_days=0)), lambda *_: None)


def test_deployments_have_the_schedules_of_the_settings() -> None:
    from pipelines.flows import FLOWS
    from pipelines.serving import deployments

    settings = replace(Settings(), upkeep=UpkeepSettings(compact_cron="1 2 * * *", vacuum_cron="3 4 * * 5"))
    made = {f"{each.flow_name}/{each.name}": each for each in deployments(settings)}
    assert set(made) == {
        "watch-inbox/inbox", "retrain/schedule", "compact-lake/schedule", "vacuum-lake/schedule", "train-potential/on-demand"
    }  # fmt: skip
    assert {each.flow_name for each in made.values()} == {flow.name for flow in FLOWS}
    crons = {name: [getattr(when.schedule, "cron", "") for when in each.schedules or []] for name, each in made.items()}
    assert crons["compact-lake/schedule"] == ["1 2 * * *"]
    assert crons["vacuum-lake/schedule"] == ["3 4 * * 5"]
    assert crons["retrain/schedule"] == [settings.retrain.cron]
    assert crons["train-potential/on-demand"] == []
    limited = {name for name, each in made.items() if each.concurrency_limit == 1}
    assert limited == set(made) - {"train-potential/on-demand"}, "two of one kind never meet"
