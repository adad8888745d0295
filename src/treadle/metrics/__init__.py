"""`GET /metrics`: what a monitor asks for, in Prometheus' text form."""
