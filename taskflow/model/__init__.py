"""What a task is: plain values and pure rules, no I/O and no ``await``."""
