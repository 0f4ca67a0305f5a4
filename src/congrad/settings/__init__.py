"""All settings: one typed tree, read from YAML files, from KEY=VALUE and from Python."""
