"""The checks of the doctor, one module per subject; ``check`` has the type of their results."""
