"""HTTP: operations for now, on the application that the other ways in will join."""
