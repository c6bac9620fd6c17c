"""What the layers do with data, on running collectors: what is masked, kept and dropped, and where each signal arrives.

Sentry and Loki are servers of ours that decode what they are sent: path, headers and contents can be checked, what the
real ones do with it cannot.
"""

from __future__ import annotations

from pathlib import Path

from capture import Capture, attributes_of, value_of
from otlpkit import ERROR, Start, a_record, a_span, attributes, send
from serverkit import Jaeger, wait_until

from otelml.events.secrets import is_secret_name

DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

SECRETS = dict.fromkeys(
    """api_key apiKey api-keys OPENAI_API_KEY x-api-key X-Api-Key password db.password dbPassword PGPASSWORD passwd
    passphrase client_secret clientSecret CLIENT_SECRET secrets accessToken access_token ACCESS_TOKEN
    Access-Token refresh_token session_token auth.token authToken hf_token HF_TOKEN github_token wandbToken
    slack-token bot_token token request.token aws.credentials Credential GOOGLE_APPLICATION_CREDENTIALS
    AWS_SECRET_ACCESS_KEY secret_key ssh_private_key private-key encryptionKey signing_key account_key pwd
    http.request.header.authorization Authorization http.response.header.set-cookie Set-Cookie cookies
    session.jwt slack_webhook_url SLACK_WEBHOOK_URL webhook""".split(),
    "abc",
)
NO_SECRETS = {
    "ml.run.id": "20251107-123456-ab12cd",
    "ml.run.name": "sk-learn-logistic-regression-with-token-dropout",
    "ml.artifact.digest": DIGEST,
    "config_hash": DIGEST[:12],
    "vcs.ref.head.revision": DIGEST[:40],
    "trace_id": DIGEST[:32],
    "span_id": DIGEST[:16],
    "service.instance.id": "00d705e0-00a6-4b82-866e-22c0ce42c879",
    "hw.id": "GPU-7b5ae8b0-8f0a-11ee-b9d1-0242ac120002",
    "max_tokens": 512,
    "gen_ai.usage.input_tokens": 512,
    "eos_token": "</s>",
    "tokenizer": "bpe",
    "key_dim": 64,
    "loss": 0.25,
    "shuffle": True,
    "url.full": "https://example.com:8080/v1/models?limit=5",
    "exception.stacktrace": 'File "train.py", line 3, in step\nKeyError: "tokens"',
    "classes": ["cat", "dog"],
    "options": {"lr": 0.1, "layers": [1, 2]},
}
TEXTS = {
    "connecting with password=hunter2, retrying": "connecting with ****, retrying",
    'said {"api_key": "hunter 2", "lr": 0.1}': 'said {"****, "lr": 0.1}',
    'said {\\"apiKey\\": \\"hunter2\\"}': 'said {\\"****}',
    "Password: hunter2; user=me": "****; user=me",
    "DB_PASSWORD=hunter2 HF_TOKEN=hunter2 AWS_SECRET_ACCESS_KEY=hunter2": "DB_**** HF**** AWS_****",
    "client_secret='hunter 2' accessToken: hunter2": "client_**** ****",
    "GET https://me:hunter2@db.example.com/x": "GET https****db.example.com/x",
    "GET https://example.com/x?token=hunter2&n=1": "GET https://example.com/x****&n=1",
    "Authorization: Basic aHVudGVyMg==": "****",
    "sent Bearer hunter2hunter2": "sent ****",
    "train.py --hf-token hunter2 --lr 3": "train.py **** --lr 3",
    "key AKIAIOSFODNN7EXAMPLE used": "key **** used",
    f"with sk-proj-{'a1' * 20}": "with ****",
    f"with hf_{'a1' * 17}": "with ****",
    f"with ghp_{'a1' * 18}": "with ****",
    "posted to https://hooks.slack.com/services/T0/B0/xyz": "posted to ****",
    "-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----\n": "****\n",
    f"weights {DIGEST} of 512 tokens": f"weights {DIGEST} of 512 tokens",
    "Unknown token: <pad>; max_tokens=512, key=3": "Unknown token: <pad>; max_tokens=512, key=3",
}


def test_secrets_are_masked_and_ids_are_not(start: Start, capture: Capture) -> None:
    """By name, in texts, in every place where attributes are; digests, ids and what only sounds like a secret stay."""
    collector = start("base", "redaction", capture=capture)
    given = SECRETS | NO_SECRETS | {f"text {number}": text for number, text in enumerate(TEXTS)}
    expected = dict.fromkeys(SECRETS, "****") | NO_SECRETS
    expected |= {f"text {number}": masked for number, masked in enumerate(TEXTS.values())}
    request = a_span("login", error="denied: password=hunter2", attributes=given)
    (resource,) = request.resource_spans
    resource.resource.attributes.extend(attributes(given))
    resource.scope_spans[0].spans[0].events.add(name="exception").attributes.extend(attributes(given))
    send(collector.url, request)
    send(collector.url, a_record("", attributes=given))
    wait_until(lambda: capture.spans() and capture.log_records(), collector.read_log)
    (span,), (record,) = capture.spans(), capture.log_records()
    assert attributes_of(span) == expected
    assert attributes_of(span.events[0]) == expected
    assert attributes_of(record) == expected
    assert (span.status.code, span.status.message) == (ERROR, "denied: ****")
    (resource,) = capture.resources("traces")
    assert resource == expected | {"service.name": "train"}
    assert collector.complaints() == []


def test_the_names_in_this_test_are_those_of_the_library() -> None:
    """The library masks by name where it writes configurations: it takes the same names for secrets."""
    assert [name for name in SECRETS if not is_secret_name(name)] == []
    assert [name for name in NO_SECRETS if is_secret_name(name)] == []


def test_log_bodies_are_masked(start: Start, capture: Capture) -> None:
    """A text, and a mapping by its names and its texts."""
    collector = start("base", "redaction", capture=capture)
    for text in TEXTS:
        send(collector.url, a_record(text))
    send(collector.url, a_record({"api_key": "abc", "db": {"password": "abc"}, "digest": DIGEST, "lr": 0.1}))
    wait_until(lambda: len(capture.log_records()) == len(TEXTS) + 1, collector.read_log)
    bodies = [value_of(record.body) for record in capture.log_records()]
    masked = {"api_key": "****", "db": {"password": "****"}, "digest": DIGEST, "lr": 0.1}
    assert sorted(bodies, key=str) == sorted([*TEXTS.values(), masked], key=str)


def test_only_errors_go_to_sentry(start: Start, capture: Capture) -> None:
    """Error spans and error logs arrive at Sentry's paths, with its header and masked; nothing else does."""
    collector = start(
        "base", "redaction", "sentry",
        SENTRY_OTLP_URL=f"{capture.url}/api/42/integration/otlp", SENTRY_PUBLIC_KEY="cafe",
    )  # fmt: skip
    send(collector.url, a_span("good"))
    send(collector.url, a_span("bad", error="token=x", attributes={"api_key": "abc"}))
    for body, severity in {"none": 0, "info": 9, "warning": 13, "error": 17, "fatal": 21}.items():
        send(collector.url, a_record(body, severity))
    wait_until(lambda: capture.spans() and len(capture.log_records()) == 2, collector.read_log)
    collector.stop()  # what was still on its way has arrived then
    assert [(span.name, attributes_of(span)) for span in capture.spans()] == [("bad", {"api_key": "****"})]
    assert {value_of(record.body) for record in capture.log_records()} == {"error", "fatal"}
    assert {request.path for request in capture.received} == {
        f"/api/42/integration/otlp/v1/{signal}" for signal in ("traces", "logs")
    }
    headers = {
        (request.headers["x-sentry-auth"], request.headers["content-type"]) for request in capture.received
    }
    assert headers == {("sentry sentry_key=cafe", "application/x-protobuf")}


def test_logs_go_to_loki_and_traces_to_jaeger(start: Start, capture: Capture, tmp_path: Path) -> None:
    """Loki's own OTLP path has the log records; a real Jaeger, in Tempo's place, gives the trace back."""
    with Jaeger(tmp_path) as jaeger:
        collector = start(
            "base", "redaction", "grafana",
            TEMPO_OTLP_ENDPOINT=jaeger.grpc_endpoint, LOKI_OTLP_URL=f"{capture.url}/otlp",
        )  # fmt: skip
        send(
            collector.url, a_span("encode", trace=7, attributes={"ml.stage.kept": "first", "api_key": "abc"})
        )
        send(collector.url, a_record("Encoded", attributes={"epoch": 3}))
        (record,) = wait_until(capture.log_records, collector.read_log)
        (span,) = wait_until(lambda: jaeger.spans("train"), collector.read_log)
    assert {request.path for request in capture.received} == {"/otlp/v1/logs"}
    assert (value_of(record.body), attributes_of(record)) == ("Encoded", {"epoch": 3})
    tags = {tag["key"]: tag["value"] for tag in span["tags"]}
    assert (span["operationName"], tags["ml.stage.kept"], tags["api_key"]) == ("encode", "first", "****")


def test_a_destination_that_is_down_costs_only_its_own_data(
    start: Start, capture: Capture, tmp_path: Path
) -> None:
    """Sentry answers 503 until its queue is full: programs are not refused, and the others get everything, once."""
    small = tmp_path / "small.yaml"
    small.write_text("exporters: {otlp_http/sentry: {sending_queue: {queue_size: 5, num_consumers: 1}}}")
    with Capture() as down:
        down.status = 503
        collector = start(
            "base", "sentry", small, capture=capture, SENTRY_OTLP_URL=down.url, SENTRY_PUBLIC_KEY="cafe"
        )
        sent = 0
        while not collector.own_metric(
            "otelcol_exporter_enqueue_failed_log_records", exporter="otlp_http/sentry"
        ):
            send(collector.url, a_record(f"error {sent}", severity=17))
            sent += 1
        wait_until(lambda: len(capture.log_records()) == sent, collector.read_log)
    bodies = {value_of(record.body) for record in capture.log_records()}
    assert bodies == {f"error {number}" for number in range(sent)}
