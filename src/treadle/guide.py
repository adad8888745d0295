"""The guide of six calls as shell lines, which `treadle serve` prints once and README shows."""

from string import Template

GUIDE = Template(
    r"""# Where the server is, and who you are
API=$base_url
ACCOUNT='Authorization: Bearer $account_token'
JSON='Content-Type: application/json'

# 1. Ask what a source of type import_api needs
curl -s -w '\n' "$$API/v4/source-types/import_api" -H "$$ACCOUNT"

# 2. Create the source; its token is in properties.token
SOURCE=$$(curl -s "$$API/v4/sources" -H "$$ACCOUNT" -H "$$JSON" -d '{"type":"import_api","display_name":"Import API"}'); echo "$$SOURCE"
ID=$$(echo "$$SOURCE" | grep -o '"id":[0-9]*' | grep -o '[0-9]*')
FIRST=$$(echo "$$SOURCE" | grep -o 'at_[0-9a-f]*')
FIRST_ID=$$(echo "$$SOURCE" | grep -o '"token":{"[0-9]*' | grep -o '[0-9]*')

# 3. Push a record, and see it in the table a second later
RECORD='[{"client_id":$client_id,"table_name":"customers","sequence":100,"action":"upsert","key_names":["id"],"data":{"id":"1","name":"Ann","updated_at":"2026-01-01T00:00:00Z"}}]'
curl -s -w '\n' "$$API/v2/import/push" -H "Authorization: Bearer $$FIRST" -H "$$JSON" -d "$$RECORD"
sleep 2; $query "select * from import_api.customers"

# 4. Generate a second token; both work
SECOND=$$(curl -s -X POST "$$API/v4/sources/$$ID/tokens" -H "$$ACCOUNT" | grep -o '"access_token":"[^"]*' | grep -o 'at_[0-9a-f]*'); echo "$$SECOND"
curl -s -w '\n' "$$API/v2/import/push" -H "Authorization: Bearer $$SECOND" -H "$$JSON" -d "$$RECORD"

# 5. List the tokens; two are the most a source can have
curl -s -w '\n' "$$API/v4/sources/$$ID/tokens" -H "$$ACCOUNT"
curl -s -w '\n' -X POST "$$API/v4/sources/$$ID/tokens" -H "$$ACCOUNT"

# 6. Revoke the first token; the second goes on working
curl -s -w '\n' -X DELETE "$$API/v4/sources/$$ID/tokens/$$FIRST_ID" -H "$$ACCOUNT"
curl -s -w '\n' "$$API/v2/import/push" -H "Authorization: Bearer $$FIRST" -H "$$JSON" -d "$$RECORD"
curl -s -w '\n' "$$API/v2/import/push" -H "Authorization: Bearer $$SECOND" -H "$$JSON" -d "$$RECORD"
"""  # noqa: E501 - shell lines are pasted whole
)


def write_guide(
    base_url: str, account_token: str, client_id: int, query: str = "treadle query"
) -> str:
    """Return the guide (connect-api.md 0) for one server and account, as lines for a POSIX shell.

    Args:
        base_url: of the server, without a slash at the end.
        account_token: an `ac_` token, or a placeholder.
        client_id: the account's `stitch_client_id`.
        query: the command that shows rows, with `--data` if the data folder is not the default.
    """
    return GUIDE.substitute(
        base_url=base_url,
        account_token=account_token,
        client_id=client_id,
        query=query,
    )
