"""The command line: one file for each group of commands.

The current folder is off the import path before any other module is imported.
"""

from pgcn_cluster.import_path import leave_out_current_folder

leave_out_current_folder()
