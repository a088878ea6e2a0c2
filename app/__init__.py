"""The web server: pages and JSON over run files, labels, and the way to the live workers."""
