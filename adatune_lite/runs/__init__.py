"""Runs as values: their description, their records, where those lie, and how they come to be."""
