"""What tests share: a real HTTP server that speaks the OpenAI protocol, and accounts that record."""
