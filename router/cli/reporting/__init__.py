"""What the verb `report` is made of: finding and reading what observers left, and three ways to show it."""
