"""Tasks for a trained pyramid, one file each, found by `pgcn.tasks.task.all_tasks`."""
