"""What the linter looks for: one module per concern, one function per rule."""
