"""`GET /metrics`: figures for monitors, in the text form of Prometheus."""
