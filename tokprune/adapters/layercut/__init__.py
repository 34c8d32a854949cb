"""Seam S4: between the layers of an image encoder."""
