"""Plans: from a Model and shapes to a program of integers and packed weights."""
