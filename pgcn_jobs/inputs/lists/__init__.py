"""Lists of images: formats, columns, rules for the files that rows may name, and the images of the rows."""
