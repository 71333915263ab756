"""From records to what pages show: statistics, searches, readings, figures."""
