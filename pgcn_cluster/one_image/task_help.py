"""Help texts of tasks: their inputs and options."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from pgcn.tasks.task import all_tasks, find_task


def say_tasks(console: Console) -> None:
    """One line a task."""
    table = Table("task", "what it does", "takes", box=None, header_style="bold")
    for task in all_tasks().values():
        takes = [name if name in task.needs else f"({name})" for name in ("target", "mask") if getattr(task, name)]
        table.add_row(task.name, task.summary, ", ".join(takes))
    console.print(table)
    console.print("In brackets: not always needed. `pgcn tasks TASK` has the rest, docs/tasks.md an image of each.")


def say_task(name: str, console: Console) -> None:
    """A task's inputs and options. Raises `pgcn.TaskError` where there is none of this name."""
    task = find_task(name)
    console.print(f"{task.name}: {task.summary}.", highlight=False, markup=False)
    table = Table(box=None, show_header=False)
    for word in ("target", "mask"):
        if getattr(task, word):
            table.add_row(f"--{word}", getattr(task, word))
    if task.truth:
        table.add_row("--truth", "the expected result, for metrics only")
    for option, field in task.options.model_fields.items():
        default = "" if field.default is None else f" [{field.default}]"
        table.add_row(f"--set {option}=…", f"{field.description}{default}".replace("[", "\\["))
    console.print(table)
