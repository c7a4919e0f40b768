"""What the tests stand on: real homeservers, a real PostgreSQL server, an exact HTTP client."""
