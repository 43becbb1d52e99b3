"""Serving models on a cluster: what is meant, what is seen, and the target that joins them."""
