"""The cluster's side: one operator that decides for all nodes."""
