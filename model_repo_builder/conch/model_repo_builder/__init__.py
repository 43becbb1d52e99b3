"""From a registered model to a proven Triton repository: load, convert, verify, lay out."""
