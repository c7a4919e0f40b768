"""Tests of what needs no homeserver."""
