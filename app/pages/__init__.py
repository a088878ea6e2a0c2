"""The pages: one module a page, each with its routes and the dataclass of what its template receives."""
