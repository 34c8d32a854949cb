"""Output pruning: what a module gives gets shorter, and whatever reads it gets fewer tokens."""
