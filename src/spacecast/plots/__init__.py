"""The pictures: of scored runs, fields, graphs and sweeps."""
