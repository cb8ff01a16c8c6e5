"""Pictures, pages and the numbers that they show."""
