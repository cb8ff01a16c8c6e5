"""The project's folder on disk: settings, paths, files, locks, errors. Imports no other room."""
