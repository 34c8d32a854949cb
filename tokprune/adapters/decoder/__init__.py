"""Decoder pruning: tokens leave after a layer of a language model."""
