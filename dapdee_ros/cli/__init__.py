"""The ``dapdee`` command: one module per subcommand, imported only when needed."""
