raise SystemExit("ends the program when it is imported")
