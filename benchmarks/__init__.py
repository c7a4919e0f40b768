"""What synapse-scim costs, beside the bare work and Synapse's own admin API: `make bench`."""
