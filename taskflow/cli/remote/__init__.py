"""What is asked of a service over HTTP; of TaskFlow this knows the client and the model alone."""
