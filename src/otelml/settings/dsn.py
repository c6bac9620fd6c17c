"""Sentry's DSN, the address and key of one project in one text; read here so that a bad one is a bad setting.

https://develop.sentry.dev/sdk/foundations/transport/authentication/#parsing-the-dsn
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

MASK = "***"


@dataclass(frozen=True, slots=True, repr=False)
class Dsn:
    """A DSN, `text`, in its parts; `origin` is where Sentry is: scheme, host, port and path, without a last slash."""

    text: str
    origin: str
    public_key: str
    project: str

    @property
    def otlp_traces_url(self) -> str:
        """Where the project takes traces over OTLP/HTTP."""
        return f"{self.origin}/api/{self.project}/integration/otlp/v1/traces"

    @property
    def otlp_headers(self) -> dict[str, str]:
        """What authorizes to send there."""
        return {"x-sentry-auth": f"sentry sentry_key={self.public_key}"}

    @property
    def shown(self) -> str:
        """What may be printed: without the key."""
        return f"{self.origin}/{self.project}"

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Dsn({self.shown})"


def read_dsn(text: str) -> Dsn:
    """Read `text`.

    Raises ValueError when it is no DSN.
    """
    parts = urlsplit(text)
    path, _, project = parts.path.rpartition("/")
    valid = parts.scheme in ("http", "https") and parts.username and parts.hostname and project.isdecimal()
    _ = parts.port  # raises ValueError when it is no port number
    if not valid or not project.isascii() or parts.query or parts.fragment:
        raise ValueError(text)
    address = parts.netloc.rpartition("@")[2]
    return Dsn(text, f"{parts.scheme}://{address}{path}", str(parts.username), project)


def mask_dsn(text: str) -> str:
    """`text`, which may be no DSN after all, as it may be printed."""
    try:
        dsn = read_dsn(text)
    except ValueError:
        return MASK
    scheme, _, rest = dsn.shown.partition("://")
    return f"{scheme}://{MASK}@{rest}"
