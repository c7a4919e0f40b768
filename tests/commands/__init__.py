"""Tests of the command line against a running homeserver."""
