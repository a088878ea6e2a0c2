"""Keyscope: browse, label and mask the feed-forward neurons (keys) of code language models."""
