"""What the server remembers of itself: requests that it refused, and its figures over time.

Everything here is bounded in size, is written beside the work and never on the way of an accepted
request, and may be lost without harm. Every actor may use it.
"""
