"""What every layer may use: checks of what users give, files, memory, names for people, optional packages."""
