"""What is a secret: by the name it stands under, and within texts.

Alone because every text that is written passes here, also where no configuration is walked. All patterns take a time
that grows with the length of the text and no faster: names are only looked for where a run of their characters begins.
"""

from __future__ import annotations

import functools
import re

MASK = "***"
"""What stands in the place of a secret."""

MAX_TEXT = 65_536
"""Characters of one text."""

_MAX_NAME = 256
"""Characters of a name that are looked at, the last ones."""

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET_WORDS = frozenset(
    "pwd credential credentials authorization bearer accesskey secretkey privatekey cookie cookies".split()
)
# Also as the end of a word: PGPASSWORD, dbpasswd.
_SECRET_ENDS = re.compile(r".*(password|passwd|passphrase|secret|credential)s?\Z")
_SERVICES = frozenset(
    "openai anthropic huggingface hf wandb github gh gitlab slack aws azure gcp google gemini cohere mistral groq "
    "replicate comet neptune mlflow sentry kaggle pinecone stripe sendgrid twilio datadog discord telegram".split()
)
# `key` alone is any key of anything, `key_dim` a size: only with one of these before it a key is a secret.
_KEY_OWNERS = _SERVICES | frozenset(
    "api access private secret encryption signing account shared ssh master license subscription".split()
)
# A pass may be forward, or the second; of these it is a password.
_PASS_OWNERS = frozenset(
    "db database sql mysql postgres pg mongo redis smtp imap mail email ftp sftp ssh ldap user admin root login http "
    "proxy auth vpn".split()
)
# What a tokenizer calls a token is none to hide.
_TOKEN_OWNERS = frozenset(
    "pad eos bos unk mask cls sep special start end stop next begin first last image audio video "
    "per max min num n total input output prompt additional decoder encoder forced add new "
    "trailing leading class query time".split()
)
# Models, functions and pieces of music have signatures too.
_SIGNATURE_OWNERS = frozenset("url request hmac amz webhook sas access message payload".split())
_GLUED = (
    ("key", _KEY_OWNERS),
    ("token", _SERVICES | frozenset("api auth access refresh session bot csrf".split())),
    ("pass", _PASS_OWNERS),
)

# The second form is of passwords with a slash in them; host:8080/path has none.
_USER_INFO = re.compile(
    r"(?<![A-Za-z0-9+.\-])([A-Za-z0-9+.\-]+://)"
    r"""(?:[^\s/?#]+@|[^\s/?#@:"']{0,128}:(?!\d{1,5}[/?#])[^\s/?#@"']{0,128}[/?#][^\s@"']{0,128}@)"""
)
_NAME = re.compile(
    r"""(?<![\w.\-])(?:[.\-]*(\w[\w.\-]*)(?:\\*["'])?\s*[=:]\s*(?!//)|--(\w[\w.\-]*)[ \t]+(?=[^\s\-]))"""
)
_SCHEME = re.compile(r"(?:bearer|basic|token|digest|apikey|key)[ \t]+(?=\S)", re.IGNORECASE)
# Quoted, quoted within a quoted text, quoted without an end, and a word.
_VALUE = re.compile(
    r"""(["'])(?:(?!\1)[^\\]|\\.)*\1|(\\+["']).*?(?<!\\)\2|["'][^\n]*|[^\s;&,)}\]]+""", re.DOTALL
)
_BEARER = re.compile(r"\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)


def is_secret_name(name: str) -> bool:
    """Whether what has this name is to be masked."""
    return _is_secret_name(name[-_MAX_NAME:])


@functools.lru_cache(maxsize=1024)
def _is_secret_name(name: str) -> bool:
    words = [word.lower() for word in _WORDS.findall(name)]
    if any(word in _SECRET_WORDS or _SECRET_ENDS.match(word) or _is_glued(word) for word in words):
        return True
    before = ["", *words]
    for owner, word in zip(before, words, strict=False):
        if word in ("key", "keys") and owner in _KEY_OWNERS:
            return True
    return bool(words) and _is_secret_end(words[-1], words[:-1])


def _is_glued(word: str) -> bool:
    """Whether it is an owner and what it owns in one word: `apikeys`, `hftoken`, `dbpass`."""
    word = word if word.endswith("pass") else word.removesuffix("s")
    return any(word.endswith(thing) and word.removesuffix(thing) in owners for thing, owners in _GLUED)


def _is_secret_end(last: str, before: list[str]) -> bool:
    if last in ("token", "tokens", "auth", "sig", "sas", "jwt", "jwts"):
        return _TOKEN_OWNERS.isdisjoint(before)
    if last == "signature":
        return not before or before[-1] in _SIGNATURE_OWNERS
    if last in ("webhook", "webhooks"):
        return True
    if last in ("url", "urls", "uri"):
        return "webhook" in before
    return last == "pass" and bool(before) and before[-1] in _PASS_OWNERS


def mask_text(text: str, limit: int = MAX_TEXT) -> str:
    """The first `limit` characters of `text` without the secrets that can be told within them."""
    if len(text) > limit:
        text = f"{text[:limit]}... [{len(text) - limit} characters left out]"
    if "PRIVATE KEY" in text:
        text = _PEM.sub(MASK, text)
    if "://" in text:
        text = _USER_INFO.sub(rf"\1{MASK}@", text)
    if "=" in text or ":" in text or "--" in text:
        text = _mask_pairs(text)
    return _BEARER.sub(rf"\1\2{MASK}", text)


def _mask_pairs(text: str) -> str:
    """Once over the text: values stand right behind their names, whatever they are within."""
    parts, end = [], 0
    for found in _NAME.finditer(text):
        if found.start() < end or not is_secret_name(found[1] or found[2]):
            continue
        # The scheme is no secret; what follows it is.
        scheme = _SCHEME.match(text, found.end())
        begin = found.end() if scheme is None else scheme.end()
        value = _VALUE.match(text, begin)
        if value is not None:
            parts += [text[end:begin], MASK]
            end = value.end()
    return "".join([*parts, text[end:]])
