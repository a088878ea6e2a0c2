"""The JSON API under `/api/v1`: `{"ok": true, …}`, or `{"ok": false, "error", "detail"}` with the right status."""
