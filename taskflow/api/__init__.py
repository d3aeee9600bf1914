"""How the world talks to TaskFlow: HTTP."""
