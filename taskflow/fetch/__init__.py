"""How a URL is fetched.

From the bottom up::

    errors              what can be the matter with a fetch
    hostname, target    the one strict view of a URL
    resolver, dialing   from a name to addresses, from an address to a stream
    connection, transport   a stream as asks wants it; idle ones are kept
    heads               what is too long to be a head is refused before it is parsed
    decoding, body      content codings undone within a bound; bytes as JSON, text or base64
    files               whose fault it is when no connection can be made
    hop                 one request on the way, and the one that a redirect asks for
    turns               who has much to do lets others go on
    exchange            asks' RequestProcessor, narrowed
    client              HttpFetcher: all of this behind the seam in ``base``
"""
