import pytest

from treadle.http.outbound_url import OutboundRules, OutboundUrl, UrlRefusedError

HTTPS = OutboundRules.from_setting("https")
ANY = OutboundRules.from_setting("any")


def test_the_parts_of_a_url() -> None:
    found = HTTPS.parse("https://Hooks.Example.com/a%20b/c?x=1&y=%2F#part")
    assert found == OutboundUrl("https", "hooks.example.com", 443, "/a%20b/c?x=1&y=%2F")
    assert found.authority == "hooks.example.com"
    assert HTTPS.parse("https://[2001:db8::1]:8443").authority == "[2001:db8::1]:8443"
    assert ANY.parse("http://127.0.0.1:9000").target == "/"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.com/x",
        "ftp://example.com/",
        "http://example.com/",
        "https://",
        "https:///path",
        "https://user@example.com/",
        "https://user:pa55word@example.com/",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com:x/",
        "https://exam ple.com/",
        "https://example.com/a b",
        "https://example.com/\r\nHost: evil",
        "https://example.com\\@evil.example/",
        "https://ex\u00e4mple.com/",
        "https://-example.com/",
        "https://exam..ple.com/",
        "https://[::1",
        "https://[fe80::1%25eth0]/",
        "https://169.254.169.254/latest",
        "https://[::ffff:169.254.169.254]/",
        "https://2852039166/",
        "https://0xa9fea9fe/",
        "https://169.254.43518/",
        "https://0251.0376.0251.0376/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://0/",
        "https://[::1]/",
        "https://example.com/" + "x" * 2048,
    ],
)
def test_what_the_server_does_not_call_is_refused_without_a_word_of_it(url: str) -> None:
    with pytest.raises(UrlRefusedError) as caught:
        HTTPS.parse(url)
    assert "pa55word" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://example.com/", "http://127.0.0.1:9000/", "http://localhost/", "https://[::1]/"]
)
def test_local_use_has_a_setting(url: str) -> None:
    ANY.parse(url)


@pytest.mark.parametrize("url", ["http://169.254.169.254/", "http://2852039166/", "http://0/"])
def test_the_setting_does_not_open_the_metadata_service(url: str) -> None:
    with pytest.raises(UrlRefusedError, match="does not connect"):
        ANY.parse(url)
