"""scim2-server's own suite for storages, over a real homeserver."""
