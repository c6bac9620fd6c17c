"""Secrets never get out with a configuration, what is none stays, and the hash depends on what it should."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import enum
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from time import thread_time
from typing import Any, NamedTuple

import numpy as np
import pytest

from otelml import events, testing
from otelml.events import config_hash, mask, masking
from otelml.logs.flat import dumps, to_flat

SECRET = "hunter2" * 2


@pytest.mark.parametrize(
    "key",
    """api_key apiKey API-KEY x-api-key wandb_api_key AWS_SECRET_ACCESS_KEY aws_access_key_id token hf_token accessToken
    refresh_token password db.password PASSWORD passwd pwd ssh_passphrase secret client-secret clientSecret credential
    credentials authorization Authorization auth private_key account_key SharedAccessKey bearer cookie PGPASSWORD
    dbpassword hftoken db_pass smtp_pass userpass openai_key wandb_key webhook_url slack_webhook jwt signature
    x-amz-signature""".split(),
)
def test_secret_keys(key: str) -> None:
    """What stands under such a key is masked at any depth, whole containers too."""
    given = {key: SECRET, "a": [{"b": ({key: {"user": "u", "value": SECRET}},)}]}
    assert mask(given) == {key: "***", "a": [{"b": [{key: "***"}]}]}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_tokens", 512), ("num_tokens", 3), ("total_tokens", 10**12), ("tokens", 5), ("tokenizer", "bpe"),
        ("pad_token", "<pad>"), ("eos_token", "</s>"), ("pad_token_id", 0), ("key_dim", 64), ("num_key_value_heads", 8),
        ("keys", ["a"]), ("key", "a"), ("author", "me"), ("secretary", "x"), ("monkey", "x"), ("token_dropout", 0.1),
        ("use_auth", True), ("token", None), ("password", ""), ("tokens_per_second", 1.5), ("compass", "n"),
        ("forward_pass", "x"), ("model_signature", "x"), ("base_url", "x"), ("webhook_timeout", "x"), ("bypass", "x"),
        ("eostoken", "x"), ("turkey", "x"), ("jwt_algorithm", "x"), ("pass", "x"),
    ],
)  # fmt: skip
def test_keys_that_are_no_secrets(key: str, value: Any) -> None:
    """Words of machine learning that look like secrets stay, and so do flags and what is empty."""
    assert mask({key: value}) == {key: value}


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"postgresql://me:{SECRET}@db:5432/x?sslmode=on", "postgresql://***@db:5432/x?sslmode=on"),
        (f"redis://:{SECRET}@cache/0", "redis://***@cache/0"),
        (f"mongodb+srv://me:p@{SECRET}@host/x", "mongodb+srv://***@host/x"),
        (f"https://{SECRET}@sentry.example/1", "https://***@sentry.example/1"),
        (
            f"Server=db;User Id=me;Password={SECRET};Encrypt=on",
            "Server=db;User Id=me;Password=***;Encrypt=on",
        ),
        (f"AccountName=a;AccountKey={SECRET}==;Suffix=x", "AccountName=a;AccountKey=***;Suffix=x"),
        (f"host=db password={SECRET} dbname=x", "host=db password=*** dbname=x"),
        (f"https://x/blob?sig={SECRET}&se=1", "https://x/blob?sig=***&se=1"),
        (f"train.py --api-key={SECRET} --lr=0.1", "train.py --api-key=*** --lr=0.1"),
        (f"Authorization: Bearer {SECRET}", "Authorization: Bearer ***"),
        (f"{{'password': '{SECRET} 2', 'lr': 1}}", "{'password': ***, 'lr': 1}"),
        (f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----", "***"),
        ("Authorization: token gh1", "Authorization: token ***"),
        ("Authorization: Bearer abc", "Authorization: Bearer ***"),
        (f"train.py --api-key {SECRET} --lr 0.1", "train.py --api-key *** --lr 0.1"),
        ("postgresql://me:p/w@host/x", "postgresql://***@host/x"),
        ("no connection to 1postgresql://me:pw@host: x", "no connection to 1postgresql://***@host: x"),
        (r'{"password": "ab\"cd ef", "lr": 1}', '{"password": ***, "lr": 1}'),
        (json.dumps(json.dumps({"password": 'ab"cd ef', "lr": 1})), r'"{\"password\": ***, \"lr\": 1}"'),
        ("http://host:8080/p@q https://x/@user/a", "http://host:8080/p@q https://x/@user/a"),
        ("the step -- token passed", "the step -- token passed"),
        ("https://example.org/path?page=1", "https://example.org/path?page=1"),
        ("s3://bucket/key=1/x", "s3://bucket/key=1/x"),
        ("max_tokens=512 loss: 0.5", "max_tokens=512 loss: 0.5"),
    ],
)
def test_texts(text: str, masked: str) -> None:
    """Connection strings, command lines and headers lose their secrets wherever they stand, and nothing else."""
    assert mask({"a": [text]}) == {"a": [masked]}


@dataclasses.dataclass
class Options:
    """A configuration as a class."""

    lr: float = 0.1
    api_key: str = SECRET


class Plain:
    """A configuration as attributes."""

    def __init__(self) -> None:
        self.password = SECRET
        self.depth = 3


class Talkative:
    """An object whose text tells."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Client(host='h', api_key='{SECRET}')"


class Sore:
    """An object that cannot be shown."""

    __slots__ = ()

    def __repr__(self) -> str:
        raise RuntimeError(SECRET)


class Optimizer(enum.Enum):
    """A choice."""

    ADAM = 1


def test_objects() -> None:
    """Dataclasses, namespaces and other bare objects are entered; the rest is its text, masked."""
    given = {
        "a": Options(), "b": argparse.Namespace(token=SECRET, x=1), "c": Plain(), "d": Talkative(), "e": Sore(),
        "f": Optimizer.ADAM, "g": Path("x/y"), "h": np.float64(0.5), "i": np.int64(3), "j": float("nan"),
        "k": os.path.join, "l": int, 7: b"x", "m": {3, 1},
    }  # fmt: skip
    assert mask(given) == {
        "a": {"lr": 0.1, "api_key": "***"}, "b": {"token": "***", "x": 1}, "c": {"password": "***", "depth": 3},
        "d": "Client(host='h', api_key=***)", "e": "<unprintable Sore object>", "f": "ADAM", "g": "x/y",
        "h": 0.5, "i": 3, "j": "NaN", "k": "posixpath.join", "l": "builtins.int", "7": "b'x'", "m": [1, 3],
    }  # fmt: skip


class Connection(NamedTuple):
    """A configuration as a tuple with names."""

    host: str
    password: str


@pytest.mark.parametrize(
    ("given", "masked"),
    [
        (Connection("h", SECRET), {"host": "h", "password": "***"}),
        (["train.py", "--api-key", SECRET, "--lr", "0.1"], ["train.py", "--api-key", "***", "--lr", "0.1"]),
        (["--token", "--lr", "0.1"], ["--token", "--lr", "0.1"]),
        ([("password", SECRET), ("lr", 0.1)], [["password", "***"], ["lr", 0.1]]),
        (("Authorization", f"token {SECRET}"), ["Authorization", "***"]),
        (["password", "label"], ["password", "label"]),
    ],
)
def test_sequences(given: Any, masked: Any) -> None:
    """Named tuples are mappings; behind a name in a pair, or an option of a command line, stands what it names."""
    assert mask({"a": given}) == {"a": masked}


class Gaps(collections.UserDict[Any, Any]):
    """As OmegaConf's: a value that is missing raises when it is read."""

    def __getitem__(self, key: Any) -> Any:
        if self.data[key] == "???":
            raise LookupError(SECRET)
        return self.data[key]


class Property:
    """Attributes, one of which is a key that raises."""

    def __init__(self) -> None:
        self.lr = 0.1
        self.names = {Sore(): 1, "a": 2}


def test_one_unreadable_value() -> None:
    """It is named so, costs nothing beside it, and configurations that differ elsewhere have other hashes."""
    first, second = Gaps({"lr": 0.1, "password": "???", "x": "???"}), Gaps({"lr": 0.9, "x": "???"})
    assert mask([first, Property()]) == [
        {"lr": 0.1, "password": "<unreadable>", "x": "<unreadable>"},
        {"lr": 0.1, "names": {"<unreadable>": 1, "a": 2}},
    ]
    assert config_hash(first) != config_hash(second)


def seconds_of(text: str) -> float:
    """Of this thread alone, the best of five: how busy the machine is does not count."""
    times = []
    for _ in range(5):
        begin = thread_time()
        mask(text)
        times.append(thread_time() - begin)
    return min(times)


@pytest.mark.parametrize(
    ("start", "repeated"),
    [
        ("x:", "a"), ("http://x ", "a"), ("x=", "a-"), ("x=", "-"), ("", "a://b:c/"), ("", 'password="'),
        ("", 'password:\\"\\'), ('password="', "\\"), ("x= password", " "), ("", "-----BEGIN PRIVATE KEY"),
        ("", "--token "),
    ],
)  # fmt: skip
def test_time_grows_with_the_length(start: str, repeated: str) -> None:
    """Eight times the text takes about eight times the time, whatever it repeats; a quadratic pattern 64 times."""
    long = start + repeated * 60_000
    assert seconds_of(long[:60_000]) < 24 * seconds_of(long[:7_500])


def test_text_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """All texts together are bounded too."""
    monkeypatch.setattr(masking, "MAX_CHARACTERS", 5)
    assert mask(["abc", "defg", "h", 1]) == [
        "abc", "de... [2 characters left out]", "... [1 characters left out]", 1,
    ]  # fmt: skip


def test_bounds() -> None:
    """Cycles, depth, numbers of items and long texts are cut off, and say so."""
    cycle: dict[str, Any] = {}
    cycle["self"] = cycle
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    assert mask(cycle) == {"self": "<cycle: dict>"}
    assert "too deep" in json.dumps(mask(deep))
    many = mask(list(range(50_000)))
    assert len(many) <= masking.MAX_ITEMS + 1
    assert "items left out" in many[-1]
    assert len(mask("x" * 200_000)) < 70_000


def test_the_event_masks_too() -> None:
    """Neither the configuration, nor further fields, nor parameters of a run carry a secret."""
    with testing.capture() as captured:
        events.config(config={"db": {"password": SECRET}, "lr": 0.1}, api_key=SECRET, url=f"x://u:{SECRET}@h")
        events.run_params(params={"token": SECRET, "lr": 0.1}, secret=SECRET)
        captured.assert_conforms()
        first, second = map(to_flat, captured.logs)
    assert first["config"] == {"db": {"password": "***"}, "lr": 0.1}
    assert (first["api_key"], first["url"]) == ("***", "x://***@h")
    assert (second["params"], second["secret"]) == ({"token": "***", "lr": 0.1}, "***")
    assert SECRET not in dumps([first, second])


def test_the_hash_by_hand() -> None:
    """It is the SHA-256 of the sorted JSON without spaces, cut to twelve digits."""
    text = '{"a":[1,2.5,null,true],"b":{"c":"\\u00e9"}}'
    expected = hashlib.sha256(text.encode()).hexdigest()[:12]
    assert config_hash({"b": {"c": "é"}, "a": (1, 2.5, None, True)}) == expected
    with testing.capture() as captured:
        events.config(config={"b": {"c": "é"}, "a": [1, 2.5, None, True]})
        events.config(config={"a": 1}, config_hash="a1b2c3d4")
        assert [to_flat(data)["config_hash"] for data in captured.logs] == [expected, "a1b2c3d4"]


def test_what_the_hash_tells_apart() -> None:
    """Values, types of numbers, names and arrays make a difference; the order of keys and secrets do not."""
    base = {"lr": 1, "password": "a", "w": np.arange(3)}
    assert config_hash(base) == config_hash({"w": np.arange(3), "password": "b", "lr": 1})
    others: list[Any] = [
        {**base, "lr": 2},
        {**base, "lr": 1.0},
        {**base, "w": np.arange(4)},
        {**base, "x": None},
    ]
    assert len({config_hash(other) for other in [base, *others]}) == 5


PROGRAM = """
from otelml.events import config_hash
class Thing: __slots__ = ()
print(config_hash({"names": {"c", "a", "b"}, "thing": Thing(), "f": print, "x": 1e-3}))
"""


def test_the_hash_is_the_same_in_every_process() -> None:
    """Neither hash randomisation nor addresses reach it."""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM], env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(outputs) == 1
