"""Tests of gate.bot.state."""
