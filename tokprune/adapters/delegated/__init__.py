"""Seam S1: models that delegate text to a language model of their own, and heads that read query tokens."""
