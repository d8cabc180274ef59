"""The API objects as pydantic models: the only place in the core that knows their wire format."""
