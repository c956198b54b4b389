"""The ``dapdee`` command: one module a subcommand, loaded only when it is asked for."""
