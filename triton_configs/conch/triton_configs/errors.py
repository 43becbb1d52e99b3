"""What can be wrong with a configuration before any server sees it."""

from __future__ import annotations

from conch.core import ConchError


class TritonConfigError(ConchError):
    """The root of this part's errors: a model configuration cannot be read, written or built."""

    code = "triton-config"


class ConfigSyntaxError(TritonConfigError):
    """A `config.pbtxt` text is not a `ModelConfig`; `details` has its `line` and `column`."""

    code = "triton-config-syntax"


class ConfigValueError(TritonConfigError):
    """A typed configuration holds a value that Triton's schema cannot; `details` has its `path`."""

    code = "triton-config-value"


class PresetError(TritonConfigError):
    """A preset cannot express a model's signature or its serving options."""

    code = "triton-config-preset"


class UnknownTritonError(TritonConfigError):
    """A text does not name a Triton release."""

    code = "triton-config-unknown-triton"
