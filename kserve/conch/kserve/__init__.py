"""The KServe target: manifests, lint, server-side apply, traffic on a cluster. To come."""
