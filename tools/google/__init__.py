"""Google Cloud adapters: one place for credentials, time-outs and retries, one module a service."""
