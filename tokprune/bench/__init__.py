"""Measuring pruned models: answers, accuracy, arithmetic and overhead, each number with its birth certificate."""
