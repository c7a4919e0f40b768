"""Matrix accounts as SCIM users, and back: pure functions without input, output or clock."""
