"""One file for each model family: where its parts are, handed to the seam that cuts it."""
