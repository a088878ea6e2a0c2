"""The pages about people: names, accounts, signing in."""
