"""Backups of an installation: `making` writes one, `restoring` brings it back.

`manifest` says what is in a backup, and judges without asking anything.
"""
