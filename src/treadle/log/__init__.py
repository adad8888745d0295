"""The durable log of accepted records that are not loaded yet."""
