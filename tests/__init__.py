"""A package, so that a `tests` that another distribution installs does not hide this one."""
