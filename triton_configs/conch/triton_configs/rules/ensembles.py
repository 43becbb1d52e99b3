"""Graphs of models: every tensor is written once, read, and reachable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..scheduling import EnsembleStep
from .books import Problem, RuleBook, Subject

book = RuleBook()


@book.error("ensemble-platform")
def ensemble_platform(subject: Subject) -> Iterator[Problem]:
    """An ensemble has the platform `ensemble`, no backend, and steps; nothing else has."""
    config = subject.config
    if config.ensemble_scheduling is not None and config.platform != "ensemble":
        yield Problem("platform", "An ensemble's platform is 'ensemble'.", "State it.")
    if subject.ensemble and config.backend:
        yield Problem("backend", "An ensemble has no backend.", "Remove it.")
    if config.platform == "ensemble" and config.ensemble_scheduling is None:
        yield Problem("ensemble_scheduling", "The ensemble has no graph.", "State its steps.")


@book.error("ensemble-field")
def ensemble_field(subject: Subject) -> Iterator[Problem]:
    """An ensemble has no instances, optimisation or warm-up of its own."""
    if not subject.ensemble:
        return
    for name in ("instance_group", "optimization", "model_warmup"):
        if getattr(subject.config, name):
            yield Problem(name, "The models of an ensemble have it.", "Move it to the model.")


@book.error("ensemble-step-incomplete")
def ensemble_step_incomplete(subject: Subject) -> Iterator[Problem]:
    """An ensemble has no step, or a step lacks its model or its wiring."""
    graph = subject.config.ensemble_scheduling
    if graph is not None and not graph.step:
        yield Problem("ensemble_scheduling.step", "There is no step.", "State one.")
    for at, step in _steps(subject):
        for name in ("model_name", "input_map", "output_map"):
            if not getattr(step, name):
                yield Problem(f"{at}.{name}", "It is empty.", "State it.")


@book.error("ensemble-step-version")
def ensemble_step_version(subject: Subject) -> Iterator[Problem]:
    """A step names no version, which means version 0 and not the newest."""
    for at, step in _steps(subject):
        if step.model_version == 0:
            yield Problem(
                f"{at}.model_version", "Triton looks for version 0.", "Use -1 for the newest."
            )


@book.error("ensemble-tensor-twice")
def ensemble_tensor_twice(subject: Subject) -> Iterator[Problem]:
    """Two steps write the same tensor, or one writes an input of the ensemble."""
    written = Counter(name for _, step in _steps(subject) for name in step.output_map.values())
    if subject.config.ensemble_scheduling is not None:
        written.update({tensor.name for tensor in subject.config.input})
    for name, times in sorted(written.items()):
        if times > 1:
            yield Problem(
                "ensemble_scheduling.step", f"{name!r} is written {times} times.", "Rename one."
            )


@book.error("ensemble-tensor-unfed")
def ensemble_tensor_unfed(subject: Subject) -> Iterator[Problem]:
    """A tensor is read, and nothing writes it before: no step and no input, or a circle."""
    if subject.config.ensemble_scheduling is None:
        return
    ready = _reachable(subject)
    for at, step in _steps(subject):
        for name, tensor in step.input_map.items():
            if tensor not in ready:
                yield Problem(
                    f"{at}.input_map[{name!r}]",
                    f"Nothing writes {tensor!r} before this step.",
                    "Map it to an input of the ensemble or an output of another step.",
                )
    for index, output in enumerate(subject.config.output):
        if output.name not in ready:
            yield Problem(
                f"output[{index}].name",
                f"No step that can run writes {output.name!r}.",
                "Map a step's output to it.",
            )


@book.error("ensemble-tensor-unused")
def ensemble_tensor_unused(subject: Subject) -> Iterator[Problem]:
    """A tensor is written, and neither a step nor an output of the ensemble reads it."""
    if subject.config.ensemble_scheduling is None:
        return
    read = {name for _, step in _steps(subject) for name in step.input_map.values()}
    for index, tensor in enumerate(subject.config.input):
        if tensor.name not in read:
            yield Problem(f"input[{index}].name", f"Nothing reads {tensor.name!r}.", "Remove it.")
    read |= {tensor.name for tensor in subject.config.output}
    for at, step in _steps(subject):
        for name, tensor_name in step.output_map.items():
            if tensor_name not in read:
                yield Problem(
                    f"{at}.output_map[{name!r}]", f"Nothing reads {tensor_name!r}.", "Remove it."
                )


@book.error("ensemble-model-unknown")
def ensemble_model_unknown(subject: Subject) -> Iterator[Problem]:
    """A step names a model that is not there."""
    members = subject.members
    for at, step in _steps(subject):
        if members is not None and step.model_name not in members:
            yield Problem(
                f"{at}.model_name",
                f"There is no model {step.model_name!r}.",
                f"There are: {', '.join(sorted(members)) or 'none'}.",
            )


@book.error("ensemble-wiring")
def ensemble_wiring(subject: Subject) -> Iterator[Problem]:
    """A step names a tensor that its model does not have, or leaves a needed input out."""
    for at, step in _steps(subject):
        model = (subject.members or {}).get(step.model_name)
        if model is None:
            continue
        for side, tensors, wired in (
            ("input_map", {tensor.name for tensor in model.input}, step.input_map),
            ("output_map", {tensor.name for tensor in model.output}, step.output_map),
        ):
            for name in sorted(set(wired) - tensors):
                yield Problem(
                    f"{at}.{side}[{name!r}]",
                    f"{step.model_name!r} has no such tensor.",
                    f"It has: {', '.join(sorted(tensors))}.",
                )
        for tensor in model.input:
            if not tensor.optional and tensor.name not in step.input_map:
                yield Problem(
                    f"{at}.input_map", f"{tensor.name!r} of the model is not fed.", "Map it."
                )


def _steps(subject: Subject) -> Iterator[tuple[str, EnsembleStep]]:
    graph = subject.config.ensemble_scheduling
    for index, step in enumerate(graph.step if graph else ()):
        yield f"ensemble_scheduling.step[{index}]", step


def _reachable(subject: Subject) -> set[str]:
    """Return the tensors that exist after every step that can run has run."""
    ready = {tensor.name for tensor in subject.config.input}
    waiting = [step for _, step in _steps(subject)]
    while runnable := [step for step in waiting if ready.issuperset(step.input_map.values())]:
        ready.update(name for step in runnable for name in step.output_map.values())
        waiting = [step for step in waiting if step not in runnable]
    return ready
