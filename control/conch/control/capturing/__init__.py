"""Payload capture: a process of its own that Envoy copies requests and answers to.

It never holds a request up: Envoy waits for nothing it says (`docs/explanation/capture.md`).
"""
