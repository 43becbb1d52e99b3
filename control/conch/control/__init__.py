"""Composition: API, command line, state, MLflow sync, reconcilers, jobs, security, audit."""
