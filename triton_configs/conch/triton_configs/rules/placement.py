"""Instances, devices and what they share."""

from __future__ import annotations

from collections.abc import Iterator

from ..placement import InstanceGroup, InstanceKind
from .books import Problem, RuleBook, Subject

book = RuleBook()


@book.info("instances-implicit")
def instances_implicit(subject: Subject) -> Iterator[Problem]:
    """No instance group is given, so that the number of instances depends on the machine."""
    if not subject.config.instance_group and not subject.ensemble:
        yield Problem(
            "instance_group",
            "Triton takes one instance per GPU, or one to two on the CPU.",
            "State kind and count.",
        )


@book.error("instances-passive")
def instances_passive(subject: Subject) -> Iterator[Problem]:
    """Every instance group is passive, so that nothing executes."""
    groups = subject.config.instance_group
    if groups and all(group.passive for group in groups):
        yield Problem("instance_group", "No group executes requests.", "Make one active.")


@book.warning("instances-negative")
def instances_negative(subject: Subject) -> Iterator[Problem]:
    """A number of instances below 1 is replaced by the default."""
    for at, group in _groups(subject):
        if group.count < 0:
            yield Problem(f"{at}.count", f"{group.count} is ignored.", "State 1 or more.")


@book.error("gpus-on-other-kind")
def gpus_on_other_kind(subject: Subject) -> Iterator[Problem]:
    """GPUs are listed for a group that is not placed on GPUs."""
    for at, group in _groups(subject):
        if group.gpus and group.kind in (InstanceKind.CPU, InstanceKind.MODEL):
            yield Problem(f"{at}.gpus", f"{group.kind} takes no GPUs.", "Remove them.")


@book.error("gpu-on-cpu-server")
def gpu_on_cpu_server(subject: Subject) -> Iterator[Problem]:
    """A group is placed on GPUs, and the stated server has none."""
    for at, group in _groups(subject):
        if group.kind is InstanceKind.GPU and not subject.triton.has_gpu:
            yield Problem(f"{at}.kind", f"{subject.triton.text} has no GPU.", "Use KIND_CPU.")


@book.error("tensorrt-needs-gpu")
def tensorrt_needs_gpu(subject: Subject) -> Iterator[Problem]:
    """A TensorRT plan is placed elsewhere than on a GPU."""
    for at, group in _groups(subject):
        elsewhere = group.kind in (InstanceKind.CPU, InstanceKind.MODEL)
        if subject.backend == "tensorrt" and elsewhere:
            yield Problem(f"{at}.kind", "A plan runs on a GPU alone.", "Use KIND_GPU.")


@book.error("openvino-needs-cpu")
def openvino_needs_cpu(subject: Subject) -> Iterator[Problem]:
    """An OpenVINO model is placed elsewhere than on the CPU."""
    for at, group in _groups(subject):
        elsewhere = group.kind in (InstanceKind.GPU, InstanceKind.MODEL)
        if subject.backend == "openvino" and elsewhere:
            yield Problem(
                f"{at}.kind",
                "The OpenVINO backend takes KIND_CPU only.",
                "Use KIND_CPU; an Intel GPU is chosen by the parameter TARGET_DEVICE.",
            )


@book.error("profile-backend")
def profile_backend(subject: Subject) -> Iterator[Problem]:
    """An optimisation profile is given for a backend other than TensorRT."""
    for at, group in _groups(subject):
        if group.profile and subject.backend != "tensorrt":
            yield Problem(f"{at}.profile", "Only TensorRT has profiles.", "Remove it.")


@book.error("profile-number")
def profile_number(subject: Subject) -> Iterator[Problem]:
    """An optimisation profile is not a number from 0 on."""
    for at, group in _groups(subject):
        for index, profile in enumerate(group.profile):
            if not profile.isdecimal():
                yield Problem(
                    f"{at}.profile[{index}]", f"{profile!r} is no number.", "Use its index."
                )


@book.info("rate-limiter-needs-flag")
def rate_limiter_needs_flag(subject: Subject) -> Iterator[Problem]:
    """A rate limiter works only where the server limits rates."""
    for at, group in _groups(subject):
        if group.rate_limiter is not None:
            yield Problem(
                f"{at}.rate_limiter",
                "A server with --rate-limit=off, the default, ignores it.",
                "Start it with --rate-limit=execution_count.",
            )


@book.info("host-policy-needs-flag")
def host_policy_needs_flag(subject: Subject) -> Iterator[Problem]:
    """A host policy works only where the server defines it."""
    for at, group in _groups(subject):
        if group.host_policy:
            yield Problem(
                f"{at}.host_policy",
                f"The server must define {group.host_policy!r}.",
                "Start it with --host-policy.",
            )


@book.warning("rate-limiter-empty")
def rate_limiter_empty(subject: Subject) -> Iterator[Problem]:
    """A resource of the rate limiter has no name, or an execution holds none of it."""
    for at, group in _groups(subject):
        resources = group.rate_limiter.resources if group.rate_limiter else ()
        for index, resource in enumerate(resources):
            if not resource.name or resource.count == 0:
                yield Problem(
                    f"{at}.rate_limiter.resources[{index}]",
                    "It limits nothing.",
                    "State its name and a count of at least 1.",
                )


def _groups(subject: Subject) -> Iterator[tuple[str, InstanceGroup]]:
    for index, group in enumerate(subject.config.instance_group):
        yield f"instance_group[{index}]", group
