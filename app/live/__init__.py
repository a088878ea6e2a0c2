"""Requests to the live workers."""
