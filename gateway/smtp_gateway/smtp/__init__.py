"""The SMTP side: a sans-I/O session machine, its asyncio edge, and the handler of the gateway."""
