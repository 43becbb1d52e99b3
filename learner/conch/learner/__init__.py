"""Feedback, replay, drift, incremental training, champion/challenger gate. To come."""
