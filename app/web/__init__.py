"""What every page and every answer is made of: links, rendering, formats, tables of keys, dependencies, errors."""
