"""The one supervised loop behind every strategy that changes the model, and the deltas it leaves behind."""
