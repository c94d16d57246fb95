"""The deploy-bot: the web service behind the approval link (docs/bot.md)."""
