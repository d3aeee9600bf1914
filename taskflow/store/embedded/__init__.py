"""The PostgreSQL server that TaskFlow runs itself when it is given no other."""
