"""Where shards are computed: in this process, in several, or on a cluster."""
