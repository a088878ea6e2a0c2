"""What the web server and the live worker do alike as HTTP servers."""
