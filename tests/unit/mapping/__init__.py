"""Accounts and SCIM Users, as pure functions."""
