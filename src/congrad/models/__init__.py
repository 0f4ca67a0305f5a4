"""What a model is: which one, where it computes, how it is loaded and freed, and the processes that share the work."""
