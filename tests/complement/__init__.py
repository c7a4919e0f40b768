"""MSC4098 as a homeserver shows it from outside: tests that can be run against any homeserver."""
