"""Token pruning for vision-language models as an election."""
