"""Seam S4 in a language model: image tokens leave between its layers."""
