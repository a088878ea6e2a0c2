"""The labels database: its address, its schema, its transactions, and statements about many keys."""
