"""What analyses write and pages read: one module of tables per kind, and finding the files."""
