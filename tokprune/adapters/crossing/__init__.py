"""Seam S3: models whose decoder cross-attends to an encoder."""
