"""Write and call services: Service, Client, configuration, wiring and run()."""
