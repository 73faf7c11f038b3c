"""What reproduce.py and report.py are made of: studies as data, runs, statistics, figures, pages."""
