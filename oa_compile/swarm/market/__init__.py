"""Who is asked: announcements, records of what providers did, and the choice among them."""
