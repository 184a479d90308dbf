"""Tasks for a trained model, one file each, found by `pgcn.tasks.task.all_tasks`."""
