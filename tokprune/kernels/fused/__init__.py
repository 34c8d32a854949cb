"""The Triton backend. Importing this package imports triton; nothing but a launch does."""
