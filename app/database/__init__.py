"""The labels database: its address, schema and transactions, and what tables and statements are made from."""
