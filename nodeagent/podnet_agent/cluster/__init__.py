"""The agent in a cluster: its objects are the API server's, its networks reach other nodes."""
