"""Bringing a model from registered to served: observe its world, decide, apply."""
