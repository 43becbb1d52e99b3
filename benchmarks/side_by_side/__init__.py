"""The parts of `benchmarks/gateway.py`: servers side by side, load generators, figures."""
