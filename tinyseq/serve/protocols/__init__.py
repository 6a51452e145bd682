"""The protocols that clients speak, each in a file of its own; none waits for the network itself."""
