"""Everything a compile has decided before its first call: the program built, settings fitted, lanes named.

A plan is made from a run folder's snapshot alone, so that a run, its resume, its replay and its
forecast cannot differ. Making one loads no model and touches no network.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import dspy

from oa_compile.artifact.folder import Inputs
from oa_compile.dataset import ExampleRecord
from oa_compile.evaluate.examples import to_examples
from oa_compile.evaluate.metrics import Metric, build_metric
from oa_compile.lanes.runtime import stage_of
from oa_compile.optimize.optimizer import Optimizer, Sizes, optimizer_named, settings_of
from oa_compile.signatures.build import build_program
from oa_compile.signatures.frozen import Tunable, hide, tunable_parts
from oa_compile.spec.config import OptimizerName

_LIBRARIES: dict[OptimizerName, tuple[str, ...]] = {"miprov2": ("optuna",), "copro": (), "gepa": ("gepa",)}


@dataclass(frozen=True, slots=True)
class Plan:
    """One compile, decided. `notes` are (code, sentence) of everything that was fitted."""

    inputs: Inputs
    optimizer: Optimizer
    settings: Any
    seed: int
    program: dspy.Module
    tunable: Tunable
    metric: Metric
    trainset: list[dspy.Example]
    valset: list[dspy.Example]
    val_records: tuple[ExampleRecord, ...]
    sizes: Sizes
    notes: tuple[tuple[str, str], ...]
    versions: dict[str, str]

    @property
    def lanes(self) -> list[str]:
        """Names of the lanes the compile stage uses."""
        stage = stage_of(self.inputs.config, "compile")
        names = [stage.task]
        if self.optimizer.proposes(self.settings):
            names.append(stage.lane("proposer"))
        if self.metric.judges:
            names.append(stage.lane("judge"))
        return list(dict.fromkeys(names))

    @property
    def adapter(self) -> str:
        """Name of the task lane's adapter: part of what the artifact is."""
        config = self.inputs.config
        return config.lanes[stage_of(config, "compile").task].adapter


def make_plan(inputs: Inputs) -> Plan:
    """Decide a compile. Raises UsageError when this program and data leave nothing to search."""
    config = inputs.config
    optimizer = optimizer_named(config.optimizer.name)
    spec = inputs.program.spec
    program = build_program(spec, inputs.program.folder)
    tunable = tunable_parts(spec, program, searched=optimizer.searched)
    hide(program, tunable)
    notes: list[tuple[str, str]] = []
    val_records = inputs.val.records
    settings = settings_of(config.optimizer, config.optimizer.name)
    limit = optimizer.val_limit(settings)
    if limit is not None and len(val_records) > limit:
        notes.append(("fitted", f"scores on {limit} of {len(val_records)} validation examples"))
        val_records = val_records[:limit]
    count = len(program.named_predictors())
    sizes = Sizes(
        train=len(inputs.train.records),
        val=len(val_records),
        predictors=count,
        calls_per_example=max(len(list(program.named_sub_modules(dspy.Predict))), 1),
    )
    settings = optimizer.fit(
        settings,
        sizes=sizes,
        tunable=tunable,
        note=lambda code, text: notes.append((code, text)),
    )
    libraries = ("oa-compile", "dspy", *_LIBRARIES[optimizer.name])
    return Plan(
        inputs=inputs,
        optimizer=optimizer,
        settings=settings,
        seed=config.run.seed,
        program=program,
        tunable=tunable,
        metric=build_metric(spec, inputs.program.folder).with_notes(inputs.train.records),
        trainset=to_examples(inputs.train.records),
        valset=to_examples(val_records),
        val_records=val_records,
        sizes=sizes,
        notes=tuple(notes),
        versions={name: version(name) for name in libraries},
    )
