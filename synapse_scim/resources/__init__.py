"""Twisted web resources: bytes in, bytes out."""
