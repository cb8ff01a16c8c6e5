"""The trained model as others use it: in Python, over HTTP, on the command line."""
