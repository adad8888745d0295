"""What is asked of the desk and how it is told: orders, refusals, the channel between processes."""
