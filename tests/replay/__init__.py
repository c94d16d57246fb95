"""The replay stores."""
