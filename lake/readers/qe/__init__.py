"""Standard output and XML of pw.x of Quantum ESPRESSO."""
