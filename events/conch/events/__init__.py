"""The durable event log: exposures, predictions, feedback, metrics. To come."""
