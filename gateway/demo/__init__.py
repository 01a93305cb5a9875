"""The demonstration: a small shop, its stories, its fast clock, and the table in which one sees what comes of them."""
