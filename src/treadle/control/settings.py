"""The era of the Connect API whose answers are given (connect-api.md 3.1, Q2, Q7)."""

from dataclasses import dataclass
from pathlib import Path

from treadle.control.partner import PartnerCredentials


@dataclass(frozen=True, slots=True)
class ConnectApiSettings:
    """The form of the answers; `treadle.config` checks the words.

    Attributes:
        surface: `seed`: a source is born with a token and every answer about it shows its tokens;
            clients of either era understand that. `modern`: a token is shown once, where it is
            made, and nothing else speaks of tokens.
        token_list: a source's tokens as `objects`, `{token_id, created_at}`, or as `integers`.
        sources_max: of an account for which the operator set nothing else; 0 for no bound.
        lists_streams: pushed tables are shown as streams of their source.
        partner: who may make accounts; None for nobody, and then the path for it is none.
        accounts_max: most accounts of the server that the partner may make; 0 for no bound.
        hook_urls: which URLs hooks may have: `https`, or `any` for plain HTTP and addresses of the
            server's machine, too.
        destinations_max: of an account; 0 for no bound.
        duckdb_folder: of the DuckDB files that an account names; absolute.
    """

    era: str = "seed"
    token_list: str = "objects"  # noqa: S105 - no password
    sources_max: int = 0
    lists_streams: bool = True
    partner: PartnerCredentials | None = None
    accounts_max: int = 0
    hook_urls: str = "https"
    destinations_max: int = 0
    duckdb_folder: Path = Path("/")

    @property
    def shows_tokens(self) -> bool:
        """Return whether sources carry their tokens, from birth."""
        return self.era == "seed"

    @property
    def bare_token_ids(self) -> bool:
        """Return whether tokens are listed as bare ids."""
        return self.token_list == "integers"  # noqa: S105 - no password
