"""What the links in messages lead to: pages of the company's customers, without a login."""
