"""Seam S2: models that put image tokens in place of placeholders in their prompt."""
