"""What a resume may change: caps and how the machine is used, nothing that decides the result."""

from __future__ import annotations

from oa_compile.spec.config import Config


def with_budgets(config: Config, new: Config) -> Config:
    """`config` with the budgets, threads and fault share of `new`; lanes and stages by name."""
    run = config.run.model_copy(
        update={"threads": new.run.threads, "max_fault_share": new.run.max_fault_share}
    )
    lanes = {
        name: lane.model_copy(update={"budget": new.lanes[name].budget}) if name in new.lanes else lane
        for name, lane in config.lanes.items()
    }
    stages = {
        name: stage.model_copy(update={"budget": new.stages[name].budget}) if name in new.stages else stage
        for name, stage in config.stages.items()
    }
    return config.model_copy(update={"budget": new.budget, "run": run, "lanes": lanes, "stages": stages})
