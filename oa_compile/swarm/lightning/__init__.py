"""How it is paid: invoices, wallets, tills, and a ledger that speaks Core Lightning's JSON-RPC."""
