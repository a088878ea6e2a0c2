"""What analyses of a run write and the pages read: one module of tables for each kind, and how the files are found."""
