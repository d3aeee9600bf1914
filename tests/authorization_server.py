"""An OAuth 2.0 authorization server and a resource server, both by Authlib, on loopback."""

from __future__ import annotations

import contextlib
import json
import secrets
import ssl
import threading
import time
from collections.abc import Iterator
from typing import ClassVar

import flask
from authlib.integrations.flask_oauth2 import AuthorizationServer, ResourceProtector
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin, grants
from authlib.oauth2.rfc6750 import BearerTokenValidator
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from joserfc.jwk import import_key
from werkzeug.serving import WSGIRequestHandler, make_server

CLIENT_ID = "task flow/\u00e4:1"
CLIENT_SECRET = "s3cr3t +%&=:/\u00fc value"
SCOPE = "invoices:read invoices:write"


class Client(ClientMixin):
    def __init__(self, server):
        self.server = server

    def get_client_id(self):
        return CLIENT_ID

    def get_allowed_scope(self, scope):
        return " ".join(each for each in (scope or "").split() if each in SCOPE.split())

    def check_client_secret(self, client_secret):
        return secrets.compare_digest(client_secret.encode(), self.server.client_secret.encode())

    def check_endpoint_auth_method(self, method, endpoint):
        return True

    def check_grant_type(self, grant_type):
        return grant_type == "client_credentials"


class Token(TokenMixin):
    def __init__(self, values):
        self.values = values
        self.ends_at = time.time() + values["expires_in"]
        self.is_gone = False
        # Bound to the certificate of the client (RFC 8705 section 3).
        self.certificate = flask.request.environ.get("SSL_CLIENT_CERT")

    def get_scope(self):
        return self.values.get("scope", "")

    def is_expired(self):
        return time.time() >= self.ends_at

    def is_revoked(self):
        return self.is_gone


class OAuthServer:
    """The token endpoint is ``/token``, and ``/resource`` accepts its tokens.

    Attributes:
        client_secret: The only one that is accepted.
        expires_in: Lifetime of the next tokens in seconds.
        public_key: The key of assertions, as text.
        token_requests: The forms of the token requests.
        is_rsa: Whether that is an RSA key, not an EC key.
        resource_requests: Number of accepted requests for the resource.
        accepts: Whether the resource accepts any token.
        tokens: The tokens by their text.
        broken: The status, the body and the headers of the token endpoint while it is broken.
        may_answer: Token requests wait until it is set.
    """

    def __init__(self, ssl_context: ssl.SSLContext | None = None):
        self.client_secret = CLIENT_SECRET
        self.expires_in = 3600
        self.public_key = ""
        self.is_rsa = True
        self.accepts = True
        self.token_requests: list[dict[str, str]] = []
        self.resource_requests = 0
        self.broken: tuple[int, str, dict[str, str]] | None = None
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.tokens: dict[str, Token] = {}
        self._server = make_server(
            "127.0.0.1",
            0,
            self._app(),
            threaded=True,
            ssl_context=ssl_context,
            request_handler=_Quiet,
        )
        self.url = f"{'https' if ssl_context else 'http'}://localhost:{self._server.port}"

    @contextlib.contextmanager
    def running(self) -> Iterator[OAuthServer]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield self
        finally:
            self.may_answer.set()
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def revoke_all(self) -> None:
        for token in self.tokens.values():
            token.is_gone = True

    def query_client(self, client_id):
        return Client(self) if client_id == CLIENT_ID else None

    def save_token(self, token, request):
        self.tokens[token["access_token"]] = Token(token)

    def _app(self):
        app = flask.Flask("authorization_server")
        app.config["OAUTH2_TOKEN_EXPIRES_IN"] = {"client_credentials": 3600}
        issuer = AuthorizationServer(app, self.query_client, self.save_token)
        issuer.register_grant(_Grant)
        issuer.register_client_auth_method(
            JWTBearerClientAssertion.CLIENT_AUTH_METHOD, _Assertion(self)
        )
        issuer.register_client_auth_method("tls_client_auth", _by_certificate)
        issuer.register_token_generator("default", self._new_token)
        protected = ResourceProtector()
        protected.register_token_validator(_Validator(self))

        @app.post("/token")
        def token():
            self.token_requests.append(dict(flask.request.form))
            self.may_answer.wait()
            if self.broken is not None:
                status, body, headers = self.broken
                return flask.Response(body, status, headers)
            return issuer.create_token_response()

        @app.route("/resource", methods=["GET", "POST"])
        @protected("invoices:read")
        def resource():
            self.resource_requests += 1
            return json.dumps("done")

        return app

    def _new_token(self, grant_type, client, user=None, scope=None, **_):
        value = secrets.token_urlsafe(30)
        return {
            "token_type": "Bearer",
            "access_token": value,
            "expires_in": self.expires_in,
            "scope": scope or "",
        }


def _by_certificate(query_client, request):
    """RFC 8705 section 2.1: the client is who its certificate says."""
    if "SSL_CLIENT_CERT" not in flask.request.environ:
        return None
    return query_client(request.form.get("client_id"))


class _Quiet(WSGIRequestHandler):
    def log(self, *args):
        pass


class _Grant(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS: ClassVar = [
        "client_secret_basic",
        "client_secret_post",
        JWTBearerClientAssertion.CLIENT_AUTH_METHOD,
        "tls_client_auth",
    ]


class _Assertion(JWTBearerClientAssertion):
    def __init__(self, server):
        super().__init__()
        self._server = server
        self._seen: set[str] = set()

    def get_audiences(self):
        return [f"{self._server.url}/token"]

    def validate_jti(self, claims, jti):
        is_new = jti not in self._seen
        self._seen.add(jti)
        return is_new

    def resolve_client_public_key(self, client):
        return import_key(self._server.public_key, "RSA" if self._server.is_rsa else "EC")


class _Validator(BearerTokenValidator):
    def __init__(self, server):
        super().__init__()
        self._server = server

    def authenticate_token(self, token_string):
        token = self._server.tokens.get(token_string) if self._server.accepts else None
        is_bound_to = flask.request.environ.get("SSL_CLIENT_CERT")
        return token if token and token.certificate == is_bound_to else None
