"""The tools as a server of the MCP SDK, which is in no environment of the service."""
