"""Tests of the bundled model, its task and its training."""
