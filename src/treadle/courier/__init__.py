"""Calls others: sends mails about problems, and delivers post-load hooks from the outbox.

The rules are those of connect-rest.md A.2.5 and A.2.6.

`decisions` and `hook_request` are pure: what is sent when, and what an answer means. `hook_sender`
sends, and `hook_carrier` brings the two and the store together. A carrier has a thread of its own
in the process `courier`.
"""
