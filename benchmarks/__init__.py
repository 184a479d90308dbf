"""What prints a figure: each module is run by hand or by make, and none by the product."""
