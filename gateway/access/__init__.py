"""Who may do what over HTTP: keys of systems and of people, and the open door of a laptop."""
