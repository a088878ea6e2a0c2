"""What people say about keys, and the baskets they save: the one database that is written while the server runs."""
