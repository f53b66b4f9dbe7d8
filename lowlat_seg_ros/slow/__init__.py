"""Any dense network as the slow track's, one file a kind."""
