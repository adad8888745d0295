"""`treadle doctor`: what is wrong around treadle, and what to do about it.

`checks` is the table of all checks. `measurements` asks the system, the store, the log and the
destinations; `findings` says of measured values what they mean and asks nothing.
"""
