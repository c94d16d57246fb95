"""The tests; helpers that several of them share are in `tests.parts` and `tests.conftest`."""
