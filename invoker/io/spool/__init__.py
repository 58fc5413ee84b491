"""◆ The spool: records on disk until CouchDB has confirmed them."""
