"""Readers of published catalog formats: each takes a parsed file and gives task types."""
