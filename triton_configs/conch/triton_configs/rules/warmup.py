"""Requests that the server runs before a model is ready."""

from __future__ import annotations

from collections.abc import Iterator

from conch.core import DYNAMIC

from ..warmup import Warmup, WarmupInput
from .books import Problem, RuleBook, Subject

book = RuleBook()

_SOURCES = ("zero_data", "random_data", "input_data_file")


@book.warning("warmup-missing")
def warmup_missing(subject: Subject) -> Iterator[Problem]:
    """Nothing warms the model, so that its first callers wait for lazy initialisation."""
    if not subject.config.model_warmup and not subject.ensemble:
        yield Problem(
            "model_warmup", "The first requests are slow.", "Add a sample per batch size."
        )


@book.error("warmup-input-unknown")
def warmup_input_unknown(subject: Subject) -> Iterator[Problem]:
    """A sample names an input that the model does not have."""
    known = {tensor.name for tensor in subject.config.input} | _controls(subject)
    for at, sample in _samples(subject):
        for name in sample.inputs:
            if name not in known:
                yield Problem(
                    f"{at}.inputs[{name!r}]",
                    "The model has no such input.",
                    f"It has: {', '.join(sorted(known))}.",
                )


@book.error("warmup-input-missing")
def warmup_input_missing(subject: Subject) -> Iterator[Problem]:
    """A sample leaves out an input that is not optional."""
    for at, sample in _samples(subject):
        for tensor in subject.config.input:
            if not tensor.optional and tensor.name not in sample.inputs:
                yield Problem(f"{at}.inputs", f"{tensor.name!r} is missing.", "Add it.")


@book.error("warmup-dtype")
def warmup_dtype(subject: Subject) -> Iterator[Problem]:
    """A sample has another data type than the model's input."""
    types = {tensor.name: tensor.data_type for tensor in subject.config.input}
    for at, name, given in _tensors(subject):
        if name in types and given.data_type != types[name]:
            have = given.data_type.triton if given.data_type else "no type"
            want = types[name]
            yield Problem(
                f"{at}.data_type",
                f"It has {have}, the model {want.triton if want else 'no type'}.",
                "Repeat the input's type.",
            )


@book.error("warmup-dims")
def warmup_dims(subject: Subject) -> Iterator[Problem]:
    """A sample has other dimensions than one row of the model's input, or variable ones."""
    shapes = {tensor.name: tensor.dims for tensor in subject.config.input}
    for at, name, given in _tensors(subject):
        want = shapes.get(name)
        if want is None:
            continue
        fits = len(want) == len(given.dims) and all(
            expected in (DYNAMIC, size) for expected, size in zip(want, given.dims, strict=True)
        )
        if not fits or any(size < 1 for size in given.dims):
            yield Problem(
                f"{at}.dims",
                f"{list(given.dims)} is no {list(want)}.",
                "State sizes of at least 1, without the batch dimension.",
            )


@book.error("warmup-source")
def warmup_source(subject: Subject) -> Iterator[Problem]:
    """A sample's input has no data, or data from two sources."""
    for at, _, given in _tensors(subject):
        chosen = [source for source in _SOURCES if getattr(given, source) is not None]
        if len(chosen) != 1:
            yield Problem(at, f"It has {len(chosen)} sources of data.", f"Use one of {_SOURCES}.")


@book.error("warmup-batch-size")
def warmup_batch_size(subject: Subject) -> Iterator[Problem]:
    """A sample has more rows than the model takes."""
    most = max(1, subject.config.max_batch_size)
    for at, sample in _samples(subject):
        if sample.batch_size > most:
            yield Problem(
                f"{at}.batch_size", f"{sample.batch_size} is above {most}.", "Use fewer rows."
            )


@book.warning("warmup-skipped")
def warmup_skipped(subject: Subject) -> Iterator[Problem]:
    """A sample without rows is skipped."""
    for at, sample in _samples(subject):
        if sample.batch_size == 0:
            yield Problem(f"{at}.batch_size", "The server skips it.", "State 1 or more.")


@book.warning("warmup-uncovered")
def warmup_uncovered(subject: Subject) -> Iterator[Problem]:
    """A preferred batch size is not warmed, so that its first batch is slow."""
    config = subject.config
    if config.dynamic_batching is None or not config.model_warmup:
        return
    warmed = {sample.batch_size for sample in config.model_warmup}
    for size in config.dynamic_batching.preferred_batch_size:
        if size not in warmed:
            yield Problem(
                "model_warmup", f"No sample has {size} rows, a preferred size.", "Add one."
            )


def _samples(subject: Subject) -> Iterator[tuple[str, Warmup]]:
    for index, sample in enumerate(subject.config.model_warmup):
        yield f"model_warmup[{index}]", sample


def _tensors(subject: Subject) -> Iterator[tuple[str, str, WarmupInput]]:
    for at, sample in _samples(subject):
        for name, given in sample.inputs.items():
            yield f"{at}.inputs[{name!r}]", name, given


def _controls(subject: Subject) -> set[str]:
    """Control and state tensors may be given too: the server overrides them in a sample."""
    batching = subject.config.sequence_batching
    if batching is None:
        return set()
    controls = {tensor.name for tensor in batching.control_input}
    return controls | {state.input_name for state in batching.state}
