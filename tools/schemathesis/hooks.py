"""Who asks: people of this run, made by the API itself."""

import json
import os
import urllib.request
import uuid

import schemathesis

BASE = os.environ["SYSTEM_URL"]
# What ends the session that it is called with, or the account: never that of everybody else.
ENDS_ITS_SESSION = {
    "POST /api/v1/auth/logout",
    "DELETE /api/v1/auth/sessions",
    "DELETE /api/v1/auth/sessions/{id}",
    "POST /api/v1/auth/password/change",
}
# What wants somebody who exists: drawn UUIDs are nobody's.
WANTS_SOMEBODY = "recipient_id"


def ask(path, body, token=None):
    headers = {"content-type": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    request = urllib.request.Request(BASE + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer), answer.headers


def registered():
    name = uuid.uuid4().hex
    return ask("/api/v1/auth/register", {"email": f"{name}@example.org", "username": name, "password": "correct horse battery"})[0]


def is_uuid(value):
    try:
        return isinstance(value, str) and bool(uuid.UUID(value))
    except ValueError:
        return False


@schemathesis.auth(refresh_interval=None)
class Everybody:
    """One person for everything that leaves their session alone, somebody new for what does not."""

    def get(self, case, context):
        if case.operation.label in ENDS_ITS_SESSION:
            return registered()["access_token"]
        return os.environ["TOKEN"]

    def set(self, case, token, context):
        case.headers = case.headers or {}
        case.headers["Authorization"] = f"Bearer {token}"


@schemathesis.hook
def before_call(context, case, kwargs):
    # A good key is a new one: drawn twice, with another body, it is refused as it ought to be.
    for name, key in list((case.headers or {}).items()):
        if name.lower() == "idempotency-key" and isinstance(key, str) and 0 < len(key) <= 255 and all("!" <= c <= "~" for c in key):
            case.headers[name] = uuid.uuid4().hex


@schemathesis.hook
def map_body(context, body):
    # Every other one: those who are nobody have an answer of their own.
    if isinstance(body, dict) and is_uuid(body.get(WANTS_SOMEBODY)) and uuid.UUID(body[WANTS_SOMEBODY]).int % 2:
        body[WANTS_SOMEBODY] = os.environ["USER_ID"]
    return body


def people():
    """What the run is told of the system, as variables for a shell."""
    caller, other = registered(), registered()
    body = {"recipient_id": other["user"]["id"], "encrypted_content": "c", "encrypted_session_key": "k"}
    message, headers = ask("/api/v1/messages/send", body, caller["access_token"])
    return {
        "TOKEN": caller["access_token"],
        "CALLER_ID": caller["user"]["id"],
        "USER_ID": other["user"]["id"],
        "MESSAGE_ID": message["id"],
        "CONSISTENCY_TOKEN": headers["x-consistency-token"],
    }


if __name__ == "__main__":
    for name, value in people().items():
        print(f"export {name}={value}")
