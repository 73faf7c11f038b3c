"""Robots that walk as commanded."""
