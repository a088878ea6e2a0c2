"""How answers reach a client: compressed, kept by browsers, and sent again only if they have changed."""
