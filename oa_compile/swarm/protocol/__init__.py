"""What is said: events, the tags of jobs and announcements, the ciphers. No I/O."""
