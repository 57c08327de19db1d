"""Central types, interfaces, units and errors, which every other package may use."""
