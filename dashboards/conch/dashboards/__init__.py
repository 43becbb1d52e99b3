"""Web console, Grafana dashboards, alert rules, notebook readers. To come."""
