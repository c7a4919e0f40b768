"""The credentials of those who call: whose they are, and what they are good for."""
