"""Training on your own videos: what lies there, what is wrong with it, sensible settings, a results card."""
