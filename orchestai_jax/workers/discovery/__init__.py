"""Finds workers: models of the Hugging Face Hub and of endpoints, tools of MCP servers, installed packages."""
