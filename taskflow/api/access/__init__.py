"""Access control: API keys, roles, sessions, rate limits, hosts and origins."""
