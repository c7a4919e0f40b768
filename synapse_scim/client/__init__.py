"""A SCIM client for administrators, which the commands use: it sees and may do what its token may."""
