"""What a trained pyramid is used for: one small file a task, found by `pgcn.tasks.task.all_tasks`."""
