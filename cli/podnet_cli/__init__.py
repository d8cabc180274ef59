"""`podnet`: what a person types. It asks the agent through its socket and never imports it."""
