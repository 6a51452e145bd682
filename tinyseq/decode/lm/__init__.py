"""Language models and hotwords, compiled to automata and added to scores by shallow fusion."""
