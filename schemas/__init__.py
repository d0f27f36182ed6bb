"""What a record of atomlake is: quantities, records and errors; no input or output of its own."""
