"""SCIM storage over Matrix accounts."""
