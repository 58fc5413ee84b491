"""◆ CouchDB: actions, records, blocked namespaces."""
