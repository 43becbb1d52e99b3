"""Names, backends, versions and files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, Final

from ..configs import ModelConfig, ModelMetrics
from ..mapping import Shape, members
from ..releases import KNOWN_BACKENDS, TENSORFLOW_REMOVED
from ..scheduling import EnsembleStep, Ensembling, SequenceBatching, State, StrategyOldest
from ..tensors import Input, Output
from .books import BACKEND_OF_PLATFORM, Problem, RuleBook, Subject

book = RuleBook()

SINCE: Final[dict[tuple[type[Any], str], tuple[int, int]]] = {
    (EnsembleStep, "model_namespace"): (23, 3),
    (StrategyOldest, "preserve_ordering"): (23, 8),
    (SequenceBatching, "iterative_sequence"): (23, 11),
    (State, "use_growable_memory"): (23, 11),
    (State, "use_same_buffer_for_input_output"): (23, 11),
    (ModelConfig, "runtime"): (24, 1),
    (Input, "is_non_linear_format_io"): (24, 8),
    (Output, "is_non_linear_format_io"): (24, 8),
    (ModelConfig, "model_metrics"): (24, 11),
    (Ensembling, "max_inflight_requests"): (25, 11),
}
"""The first release whose `model_config.proto` has a field (release branches of `common`)."""

AOTI_SINCE: Final = (26, 3)
"""The first release whose core knows the platform `torch_aoti` (release branches of `core`)."""


@book.info("name-missing")
def name_missing(subject: Subject) -> Iterator[Problem]:
    """The model has no name, so that it takes its folder's."""
    if not subject.config.name:
        yield Problem("name", "The model takes the name of its folder.", "State the name.")


@book.error("name-mismatch")
def name_mismatch(subject: Subject) -> Iterator[Problem]:
    """The model's name is not that of its folder."""
    name, folder = subject.config.name, subject.folder
    if name and folder and name != folder:
        yield Problem(
            "name", f"{name!r} lies in the folder {folder!r}.", f"Name it {folder!r}, or move it."
        )


@book.warning("backend-missing")
def backend_missing(subject: Subject) -> Iterator[Problem]:
    """Neither a backend nor a platform is named, so that Triton guesses from file names."""
    if not subject.config.backend and not subject.config.platform and not subject.ensemble:
        yield Problem("backend", "Triton guesses the backend from file names.", "State it.")


@book.error("platform-unknown")
def platform_unknown(subject: Subject) -> Iterator[Problem]:
    """A platform alone does not name any backend."""
    platform = subject.config.platform
    if platform and not subject.backend and platform != "ensemble":
        yield Problem(
            "platform", f"No backend belongs to platform {platform!r}.", "Name the backend."
        )


@book.error("platform-mismatch")
def platform_mismatch(subject: Subject) -> Iterator[Problem]:
    """Platform and backend name different things."""
    platform, backend = subject.config.platform, subject.config.backend
    meant = BACKEND_OF_PLATFORM.get(platform, "" if platform == "ensemble" else backend)
    if platform and backend and meant != backend:
        yield Problem(
            "platform", f"{platform!r} does not belong to {backend!r}.", "Remove the platform."
        )


@book.error("platform-too-new")
def platform_too_new(subject: Subject) -> Iterator[Problem]:
    """The release is older than the platform."""
    if subject.config.platform == "torch_aoti" and subject.triton.release < AOTI_SINCE:
        yield Problem(
            "platform",
            f"{subject.triton.text} has no AOTInductor support.",
            "Use 26.03 or newer, or convert to ONNX.",
        )


@book.error("backend-removed")
def backend_removed(subject: Subject) -> Iterator[Problem]:
    """The release has dropped the backend."""
    if subject.backend == "tensorflow" and subject.triton.release >= TENSORFLOW_REMOVED:
        yield Problem(
            "backend",
            f"{subject.triton.text} has no TensorFlow backend; 25.02 was the last.",
            "Convert to ONNX, or serve the SavedModel through the OpenVINO backend.",
        )


@book.error("backend-absent")
def backend_absent(subject: Subject) -> Iterator[Problem]:
    """The stated flavour of Triton does not have the backend."""
    backend, triton = subject.backend, subject.triton
    removed = backend == "tensorflow" and triton.release >= TENSORFLOW_REMOVED
    if backend in KNOWN_BACKENDS - triton.backends and not removed:
        yield Problem(
            "backend",
            f"{triton.text} has no {backend!r} backend.",
            f"It has: {', '.join(sorted(triton.backends))}.",
        )


@book.info("backend-custom")
def backend_custom(subject: Subject) -> Iterator[Problem]:
    """The backend is not one of NVIDIA's, so that the server must have it installed."""
    if subject.backend and subject.backend not in KNOWN_BACKENDS:
        yield Problem(
            "backend",
            f"{subject.backend!r} is not shipped with Triton.",
            "Install it in the server's backend directory.",
        )


@book.error("field-too-new")
def field_too_new(subject: Subject) -> Iterator[Problem]:
    """The release's schema lacks a field, so that it refuses the whole text."""
    for path, since in _later_fields(subject.config, "", subject.triton.release):
        year, month = since
        yield Problem(
            path,
            f"{subject.triton.text} does not know the field; it came with {year}.{month:02}.",
            "Remove it, or use a newer Triton.",
        )


@book.error("version-policy-empty")
def version_policy_empty(subject: Subject) -> Iterator[Problem]:
    """The version policy serves no version: an empty list, or the latest 0."""
    policy = subject.config.version_policy
    if policy is None:
        return
    if policy.specific is not None and not policy.specific.versions:
        yield Problem("version_policy.specific", "It lists no version.", "List one.")
    if policy.latest is not None and policy.latest.num_versions == 0:
        yield Problem("version_policy.latest", "It serves the latest 0.", "State num_versions: 1.")


@book.warning("version-policy-implicit")
def version_policy_implicit(subject: Subject) -> Iterator[Problem]:
    """The version policy is there and chooses nothing, which means all versions."""
    policy = subject.config.version_policy
    if policy is not None and not any((policy.specific, policy.latest, policy.all)):
        yield Problem("version_policy", "Triton serves every version.", "State all { }.")


@book.error("version-missing")
def version_missing(subject: Subject) -> Iterator[Problem]:
    """The version policy lists a version that has no folder."""
    policy, there = subject.config.version_policy, subject.versions
    if policy is None or policy.specific is None or there is None:
        return
    for index, version in enumerate(policy.specific.versions):
        if version not in there:
            yield Problem(
                f"version_policy.specific.versions[{index}]",
                f"There is no version {version}.",
                f"The folder has: {', '.join(map(str, sorted(there))) or 'none'}.",
            )


@book.error("path-escapes")
def path_escapes(subject: Subject) -> Iterator[Problem]:
    """A file name leads out of the folder in which it is looked up."""
    for path, name in _file_names(subject.config):
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts:
            yield Problem(path, f"{name!r} leads out of its folder.", "Use a plain name.")


@book.info("cache-needs-flag")
def cache_needs_flag(subject: Subject) -> Iterator[Problem]:
    """The response cache works only where the server has one."""
    cache = subject.config.response_cache
    if cache is not None and cache.enable:
        yield Problem(
            "response_cache",
            "A server without a cache ignores it.",
            "Start it with --cache-config.",
        )


@book.error("metrics-incomplete")
def metrics_incomplete(subject: Subject) -> Iterator[Problem]:
    """A metric control lacks the family, or its buckets."""
    for index, control in enumerate(
        (subject.config.model_metrics or ModelMetrics()).metric_control
    ):
        identifier, histogram = control.metric_identifier, control.histogram_options
        at = f"model_metrics.metric_control[{index}]"
        if identifier is None or not identifier.family:
            yield Problem(f"{at}.metric_identifier", "It names no family.", "Name the metric.")
        if histogram is None or not histogram.buckets:
            yield Problem(f"{at}.histogram_options", "It has no buckets.", "List upper bounds.")


def _later_fields(
    value: Any, path: str, release: tuple[int, int]
) -> Iterator[tuple[str, tuple[int, int]]]:
    empty = type(value)()
    for member in members(type(value)):
        content = getattr(value, member.name)
        if content == getattr(empty, member.name):
            continue
        at = f"{path}.{member.field}" if path else member.field
        since = SINCE.get((type(value), member.name), (0, 0))
        if since > release:
            yield at, since
        if not member.nested:
            continue
        if member.shape is Shape.MANY:
            for index, item in enumerate(content):
                yield from _later_fields(item, f"{at}[{index}]", release)
        elif member.shape is Shape.KEYED:
            for key, item in content.items():
                yield from _later_fields(item, f"{at}[{key!r}]", release)
        else:
            yield from _later_fields(content, at, release)


def _file_names(config: ModelConfig) -> Iterator[tuple[str, str]]:
    yield "default_model_filename", config.default_model_filename
    yield "runtime", config.runtime
    for key, name in config.cc_model_filenames.items():
        yield f"cc_model_filenames[{key!r}]", name
    for index, output in enumerate(config.output):
        yield f"output[{index}].label_filename", output.label_filename
    libraries = config.model_operations.op_library_filename if config.model_operations else ()
    for index, name in enumerate(libraries):
        yield f"model_operations.op_library_filename[{index}]", name
    for index, sample in enumerate(config.model_warmup):
        for key, tensor in sample.inputs.items():
            at = f"model_warmup[{index}].inputs[{key!r}].input_data_file"
            yield at, tensor.input_data_file or ""
    states = config.sequence_batching.state if config.sequence_batching else ()
    for index, state in enumerate(states):
        for number, initial in enumerate(state.initial_state):
            at = f"sequence_batching.state[{index}].initial_state[{number}].data_file"
            yield at, initial.data_file or ""
