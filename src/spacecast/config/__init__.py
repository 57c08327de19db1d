"""From the words on the command line to a checked configuration, and from its sections to objects."""
