"""Opens destinations on request, in processes of its own: bounded in memory and in time."""
