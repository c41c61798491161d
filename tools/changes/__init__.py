"""What can be changed: each call previewed, approved by a person, and reconciled after a crash."""
