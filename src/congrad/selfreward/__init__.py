"""Prompts into preference pairs by the model itself: it answers, it judges, and answers are paired by score."""
