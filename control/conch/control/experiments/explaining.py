"""An experiment in sentences: where it stands, and what each treatment shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from conch.ab import DecisionRecord, from_json

from ..reading import ExperimentArmView, ExperimentView, FindingView
from ..releasing.explaining import clock, metric_sentence


def explain_experiment(
    experiment: ExperimentView, findings: Sequence[FindingView]
) -> tuple[str, ...]:
    """Return what a person should know of an experiment, a sentence or two for each thing.

    Args:
        experiment: The experiment.
        findings: Its findings with their records, the newest first.
    """
    return tuple(_sentences(experiment, findings))


def _sentences(experiment: ExperimentView, findings: Sequence[FindingView]) -> Iterator[str]:
    control, *treatments = experiment.arms
    arms = ", ".join(f"{_name(one)} with {one.weight:g} %" for one in treatments)
    yield (
        f"{experiment.name}: {arms} beside {_name(control)} with {control.weight:g} %, started by "
        f"{experiment.created_by} at {clock(experiment.created_at)}."
    )
    yield _standing(experiment)
    newest = next((one for one in findings if one.records), None)
    if newest is not None and newest.records is not None:
        yield f"The last look was at {clock(newest.at)}."
        for arm in treatments:
            if arm.build_id in newest.records:
                yield from _arm(arm, control, newest.records[arm.build_id])
    if experiment.hold is not None:
        yield f"Nothing is concluded now ({experiment.hold['code']}): {experiment.hold['message']}"


def _standing(experiment: ExperimentView) -> str:
    match experiment.status:
        case "preparing":
            return "Its arms are being loaded and checked; nobody gets them yet."
        case "running":
            return f"The traffic has been divided since {clock(experiment.started_at)}."
        case _:
            outcome = experiment.outcome or {}
            return (
                f"It ended at {clock(experiment.finished_at)} ({outcome.get('code')}): "
                f"{outcome.get('message')} The live version answers everybody."
            )


def _arm(arm: ExperimentArmView, control: ExperimentArmView, value: object) -> Iterator[str]:
    record = from_json(DecisionRecord, value)
    for check in record.decision.checks:
        if not check.passed:
            yield f"{_name(arm)}: the comparison is broken ({check.name}): {check.because}."
    for result in record.decision.results:
        yield metric_sentence(result, _name(arm), _name(control), alpha=record.plan.alpha)


def _name(arm: ExperimentArmView) -> str:
    return f"version {arm.version} (build {arm.ordinal})"
