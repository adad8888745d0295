"""What an operator runs beside a server: doctor, audit and rebuild."""
