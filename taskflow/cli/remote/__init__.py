"""Commands that call a service over HTTP. They import only the client and the model."""
