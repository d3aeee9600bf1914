"""What is told to those who keep TaskFlow running."""
