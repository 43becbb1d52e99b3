"""The local target: supervised Triton servers and Envoy on one machine."""
