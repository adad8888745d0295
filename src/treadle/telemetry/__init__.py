"""Spans of OpenTelemetry: what a request becomes, from its acceptance to its row and its hooks."""
