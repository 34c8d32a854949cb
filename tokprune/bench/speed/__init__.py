"""Speed: the unpruned model, the pruned one and the oracle, timed in turns; where the time goes, memory, arithmetic."""
