"""Measuring pruned models: answers, accuracy, arithmetic and speed, each number with its birth certificate."""
