"""Fetching a URL over HTTP, guarded and within limits.

From the bottom up::

    errors                     the errors of a fetch
    hostname, url              strict parsing of hosts and URLs
    ports, special_addresses   what the guard blocks by default
    guard                      which targets may be fetched from
    stream                     streams of bytes with and without TLS, and connections
    resolver, dialing          from a name to addresses, from an address to a stream
    connection_pool            connections: opened, kept while idle, reused
    decoding, body             content codings decoded within limits; bodies as JSON, text or base64
    response, recording        responses, and what is kept of them for failed attempts
    authentication             the interface of what adds credentials to requests
    hop                        one request of a redirect chain
    exchange                   sends a request and receives its response over a connection
    interface                  the interface between the engine and this package
    http_fetcher               its implementation
    token_request              requests to token endpoints of OAuth 2.0, and their responses
    access_tokens              access tokens, shared by the tasks of a node
    id_tokens                  ID tokens that this service signs itself
    aws_signature              signatures of requests to AWS
    client_tls                 TLS with client certificates
    authenticators             the authenticators of all kinds of credentials
"""
