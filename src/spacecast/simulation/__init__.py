"""A miniature global magnetosphere, 2-D MHD."""
