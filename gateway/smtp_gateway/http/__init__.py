"""The HTTP side of the gateway: health for the platform, metrics for Prometheus."""
