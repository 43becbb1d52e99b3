"""Triton's `ModelConfig` as typed values, to and from `config.pbtxt` text."""
