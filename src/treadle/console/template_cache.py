"""Keeps templates compiled in files, as Python keeps its modules.

To compile the templates of all pages takes half a second, and leaves 1.5 MB in a worker that are of
no use afterwards. So each template is compiled once for an installation, and its bytecode is kept
in the folder `__pycache__` beside the modules of the console. Where that folder cannot be written,
as when another user has installed treadle, each worker compiles what it needs. Whoever may write
there does it for all by `python -m treadle.console.template_compiler`.
"""

import hashlib
import secrets
import sys
from contextlib import suppress
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path
from typing import Final

import jinja2
from jinja2.bccache import Bucket, BytecodeCache

HERE: Final = Path(__file__).parent
ENDING: Final = ".bytecode"
_DIGEST_BYTES: Final = 32


def digest_compiler(settings: bytes) -> bytes:
    """Return a digest of what compiles templates: Python, Jinja and the settings of both.

    Args:
        settings: the source of the module with the settings.
    """
    versions = MAGIC_NUMBER + jinja2.__version__.encode()
    return hashlib.sha256(versions + settings).digest()


class TemplateCache(BytecodeCache):
    """The compiled templates of an installation.

    A file is used only if its digest fits its content and the compiler, and if it is of the source
    that the template has now (`Bucket.checksum`). Another one is taken for missing.

    Args:
        compiler: of `digest_compiler`.
        writes: write the files that are missing.
        folder: where the files are, made if it is missing; None for the one beside the modules.
    """

    def __init__(self, compiler: bytes, *, writes: bool, folder: Path | None = None) -> None:
        self._compiler = compiler
        self._writes = writes
        self._folder = folder or Path(cache_from_source(str(HERE / "page.py"))).parent

    def load_bytecode(self, bucket: Bucket) -> None:
        """Read the bytecode of a template, if there is a file of it that fits."""
        with suppress(OSError):
            content = self._name_file(bucket).read_bytes()
            if self._digest(content[_DIGEST_BYTES:]) == content[:_DIGEST_BYTES]:
                bucket.bytecode_from_string(content[_DIGEST_BYTES:])

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Write the bytecode of a template, if that is wanted and possible."""
        if not self._writes:
            return
        path = self._name_file(bucket)
        draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        code = bucket.bytecode_to_string()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(self._digest(code) + code)
            draft.replace(path)  # another worker may write it, too
        except OSError:
            with suppress(OSError):
                draft.unlink()

    def _digest(self, code: bytes) -> bytes:
        return hashlib.sha256(self._compiler + code).digest()

    def _name_file(self, bucket: Bucket) -> Path:
        tag = sys.implementation.cache_tag or "python"
        return self._folder / f"{bucket.key}.{tag}{ENDING}"
