"""Adapters: what knows one model family. Built from seams, so that a family is a few lines."""

from tokprune.adapters.blip2 import Blip2

__all__ = ["Blip2"]
