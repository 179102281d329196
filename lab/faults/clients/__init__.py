"""Programs that run in containers of their own, in the lab's network."""
