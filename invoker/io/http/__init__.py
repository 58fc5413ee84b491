"""◆ The listener: HTTP/1.1 and TLS on the hot path, and who may call what."""
