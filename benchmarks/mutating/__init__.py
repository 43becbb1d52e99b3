"""Random changes to converted graphs, and who would have noticed them."""
