"""Reading the files of the reference implementation."""
