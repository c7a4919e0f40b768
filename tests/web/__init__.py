"""SCIM over HTTP, on a homeserver in the test's process."""
