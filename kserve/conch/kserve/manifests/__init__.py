"""Manifests of a workload for a stated profile."""

from .rendering import KUSTOMIZATION, manifests, render

__all__ = ["KUSTOMIZATION", "manifests", "render"]
