"""`rpo-lightning new-task`: the files of a task for a robot, ready to be checked, trained and changed."""
