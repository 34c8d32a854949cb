"""How the bundled model is trained: image encoder, language model, Q-Former, one after the other."""
