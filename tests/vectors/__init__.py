"""Test vectors: what other implementations of the token profile can test themselves against."""
