"""Prompt pruning: fewer image tokens in the prompt of a language model, which does not know that there were more."""
