"""The store interface: what every backend provides. Read ``tasks`` first."""
