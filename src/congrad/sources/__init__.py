"""Sources: files, folders and saved or published data sets, and the rows that are in them, whatever these hold."""
