"""Prepares a load: decodes, flattens and converts records, whatever their table holds."""
