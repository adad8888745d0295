"""Compiles the templates of all pages, so that no worker has to do it.

Whoever has installed treadle runs `python -m treadle.console.template_compiler` once.
"""

import sys

from treadle.console.rendering import make_environment


def compile_templates() -> int:
    """Compile the templates of all pages, and keep them; return how many there are."""
    environment = make_environment(writes_code=True)
    names = environment.list_templates()
    for name in names:
        environment.get_template(name)
    return len(names)


if __name__ == "__main__":
    sys.stdout.write(f"{compile_templates()} templates are compiled.\n")
