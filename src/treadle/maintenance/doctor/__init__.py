"""`treadle doctor`: finds what is wrong around treadle, and says what to do.

`checks` is the table of all checks. `measurements` asks the system, the store, the log and the
destinations. `findings` judges the measured values and asks nothing.
"""
