"""Where a model's instances run and what they share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class InstanceKind(StrEnum):
    """`ModelInstanceGroup.Kind`."""

    AUTO = "KIND_AUTO"
    GPU = "KIND_GPU"
    CPU = "KIND_CPU"
    MODEL = "KIND_MODEL"


class SecondaryDeviceKind(StrEnum):
    """`ModelInstanceGroup.SecondaryDevice.SecondaryDeviceKind`."""

    NVDLA = "KIND_NVDLA"


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimiterResource:
    """A counted resource that an instance holds while it executes.

    Attributes:
        name: Name of the resource.
        global_: Counted once for all devices instead of per device (`global` in the text).
        count: How many an execution holds.
    """

    name: str = ""
    global_: bool = False
    count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimiter:
    """`ModelRateLimiter`; has effect only with `--rate-limit=execution_count`.

    Attributes:
        resources: What an execution holds.
        priority: Weight among models; 2 gets half the executions of 1, 0 counts as 1.
    """

    resources: tuple[RateLimiterResource, ...] = ()
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondaryDevice:
    """A second device of an instance, such as a deep-learning accelerator.

    Attributes:
        kind: What it is.
        device_id: Which one.
    """

    kind: SecondaryDeviceKind = SecondaryDeviceKind.NVDLA
    device_id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceGroup:
    """`ModelInstanceGroup`: instances of a model on one kind of device.

    Attributes:
        name: Name in messages.
        kind: Kind of device.
        count: Instances, per GPU where several are named; 0 is one.
        rate_limiter: What an execution holds.
        gpus: GPU numbers; empty for all.
        secondary_devices: Further devices.
        profile: TensorRT optimisation profiles by number.
        passive: Loaded without ever being scheduled.
        host_policy: Name of a `--host-policy` (NUMA node, cores).
    """

    name: str = ""
    kind: InstanceKind = InstanceKind.AUTO
    count: int = 0
    rate_limiter: RateLimiter | None = None
    gpus: tuple[int, ...] = ()
    secondary_devices: tuple[SecondaryDevice, ...] = ()
    profile: tuple[str, ...] = ()
    passive: bool = False
    host_policy: str = ""
