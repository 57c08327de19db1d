"""Central types and interfaces."""
