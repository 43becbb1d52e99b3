"""Assignment, metrics and sequential statistics as pure functions. To come."""
