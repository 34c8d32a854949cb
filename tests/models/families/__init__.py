"""Families of models: each a row of what every family must do. One file for each way in which they are cut."""
